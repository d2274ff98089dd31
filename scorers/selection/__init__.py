"""Rules that pick one of N completions."""
