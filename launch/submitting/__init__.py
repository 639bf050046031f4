"""A command on its way to a cluster whose hosts have not this code."""
