"""The sequences that a model is fitted to: in memory, in a dataset, or in a DataFrame."""
