"""The dataset on disk: what describes it, what writes it, and the one reader of it."""
