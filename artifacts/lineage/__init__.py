"""From the dataset to the decision: what a run was made from, with digests that are compared."""
