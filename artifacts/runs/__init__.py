"""Past runs: replayed, read again, listed, traced back, resumed."""
