"""The comparison: its entrants, their scores, and the page."""
