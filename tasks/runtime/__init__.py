"""What tasks run on: the task decorator, the model cache and progress."""
