"""Runs in MLflow: written, read back, and linked to datasets and models."""
