"""Who watches a run, and what is told to them."""
