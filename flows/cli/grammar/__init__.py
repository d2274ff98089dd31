"""The words of the command line: which verbs there are, and which options each has."""
