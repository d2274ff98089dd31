"""Chat templates and tokenizers, tried in a process with limited time and memory."""
