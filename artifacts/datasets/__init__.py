"""Problems from a person's file or from the built-in generator."""
