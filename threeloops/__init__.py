"""The name under which Python starts the command: `python -m threeloops`."""
