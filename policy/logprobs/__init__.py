"""Log-probabilities of completions under a policy."""
