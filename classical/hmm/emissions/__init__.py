"""Emission families: the densities of readings, given the hidden state. One family a file, each an `Emission`."""
