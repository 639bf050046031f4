"""The command line, Spark sessions, and the comparison that joins every part."""
