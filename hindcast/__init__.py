"""Sequence modelling on Spark: one dataset of fixed-length sequences for models of many kinds, and an honest comparison."""
