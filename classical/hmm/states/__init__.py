"""What the hidden states of a fitted model are."""
