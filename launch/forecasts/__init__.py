"""Forecasts of saved models: of windows, of readings, of Spark DataFrames."""
