"""What several emission families are made of: covariances, priors, and the clusters that states begin as."""
