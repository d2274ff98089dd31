"""The command line: its options, its verbs, and what a person sees."""
