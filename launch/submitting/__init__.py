"""Submission of a command to a cluster whose hosts do not have this code."""
