"""The HTML report of a run, its rows, sections and pictures."""
