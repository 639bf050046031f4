"""The search over settings."""
