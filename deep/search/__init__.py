"""The search over settings: trials side by side on Spark, the hopeless ones stopped early."""
