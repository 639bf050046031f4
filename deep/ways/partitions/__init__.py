"""Networks that are trained in Spark's partitions: one a series or group, or one in all, with its weights averaged."""
