"""What nothing refers to: found, and dropped."""
