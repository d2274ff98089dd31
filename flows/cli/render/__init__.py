"""Results as text in a terminal of 80 columns."""
