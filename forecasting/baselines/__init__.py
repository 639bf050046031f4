"""The forecasts that every model has to beat."""
