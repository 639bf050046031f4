"""Compiled code, LANES sequences at a time."""
