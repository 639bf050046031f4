"""The last readings of each series, as the context of a forecast."""
