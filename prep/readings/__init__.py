"""Readings as people have them, as one Spark table: every cell that cannot be used named, and words as codes."""
