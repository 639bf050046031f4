"""What a model is fitted to, wherever it lies."""
