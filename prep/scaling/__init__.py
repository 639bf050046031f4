"""Numbers brought to one scale, and whether float32 holds them."""
