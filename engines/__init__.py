"""Where completions come from: this process, or a server that is asked for them."""
