"""E-steps on GPUs: the statistics that processors find, of sequences that stay in a GPU's memory between iterations."""
