"""What a forecast is, how it is scored, the baselines it has to beat, and the report that says so."""
