"""Rates, intervals, paired tests and divergences from counts and scores."""
