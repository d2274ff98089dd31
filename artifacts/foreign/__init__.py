"""Logs of other programs: read into one form, matched with problems, and written."""
