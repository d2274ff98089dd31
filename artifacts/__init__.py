"""The code that keeps artifacts: tables, runs, model versions, pictures."""
