"""The gate: which model version may become the champion, and the record of each decision."""
