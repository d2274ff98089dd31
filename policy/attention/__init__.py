"""Attention in which completions share the computation of what they have in common."""
