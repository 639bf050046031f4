"""The page on readings before anything is changed."""
