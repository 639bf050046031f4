"""Where readings, steps and the borders of splits lie in time."""
