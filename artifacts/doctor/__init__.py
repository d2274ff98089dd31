"""What may be wrong in a data folder: found without changing anything, repaired by moving."""
