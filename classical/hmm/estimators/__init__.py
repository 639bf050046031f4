"""Estimators that a user of hmmlearn already knows: the same arguments, attributes and verbs, and no hidden priors."""
