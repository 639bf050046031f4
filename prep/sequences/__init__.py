"""Readings on a grid → segments without a hole → the fixed-length rows that are stored."""
