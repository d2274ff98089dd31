"""The pure model: loading, prompt templates, sampling, log-probabilities, objective, update.

Nothing here knows of tasks, tracking or scores; all of it can be used from a notebook.
"""
