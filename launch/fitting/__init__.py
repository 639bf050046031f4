"""Fits of any kind of model, and their commands."""
