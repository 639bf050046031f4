"""Networks, one a file; the choice among them is in building.py."""
