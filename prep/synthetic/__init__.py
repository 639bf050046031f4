"""Made-up readings, with everything that real exports suffer from."""
