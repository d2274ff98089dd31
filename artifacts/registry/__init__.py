"""Policies by name, and model versions in MLflow's registry."""
