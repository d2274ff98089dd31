"""The objective, its gradient, and one update after another."""
