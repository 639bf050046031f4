"""Whatever is written, read and locked in folders and under URIs that others use at the same time."""
