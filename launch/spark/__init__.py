"""The Spark session: made, kept alive, and ended with a reason."""
