"""A policy loaded from a folder: weights, tokenizer, prompts, precision and memory."""
