"""Prompt templates of files: read, checked against a dataset, kept."""
