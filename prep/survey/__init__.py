"""What raw readings look like before anything is done to them."""
