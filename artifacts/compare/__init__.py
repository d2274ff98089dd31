"""Two stored measurements side by side, and stored completions under another scorer."""
