"""Completions by any server with OpenAI's /v1/completions."""
