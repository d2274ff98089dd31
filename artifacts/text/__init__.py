"""Numbers and other people's text as words, markdown and visible characters."""
