"""The comparison: what enters it, what is scored, and the page that says so."""
