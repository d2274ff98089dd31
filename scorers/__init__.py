"""Scorers, selection rules, and estimates with honest intervals, as pure functions.

All of it can be used from a notebook, without a model, a server or tracking.
"""
