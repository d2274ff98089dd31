"""The pure model: loading, prompt templates, sampling, log-probabilities, objective, update.

All of it can be used from a notebook, without tasks, tracking or a scorer.
"""
