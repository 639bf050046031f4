"""Models trained by additive statistics: expectation-maximisation on one machine or on Spark, with the same verbs."""
