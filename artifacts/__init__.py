"""The code that keeps artifacts: tables, runs, model versions, pictures.

The bytes live in one data folder; nothing here samples, scores or trains.
"""
