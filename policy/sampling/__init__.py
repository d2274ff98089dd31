"""Completions sampled from a policy, token by token."""
