"""The run of a command, and its listeners."""
