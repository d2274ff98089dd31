"""Several processes that learn together: which they are, and what they tell each other."""
