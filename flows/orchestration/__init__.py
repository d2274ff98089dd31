"""What belongs to Prefect: its settings, its page, its events, and the learners' lock."""
