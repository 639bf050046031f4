"""Descriptions of the hidden states of a fitted model."""
