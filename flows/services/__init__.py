"""The servers that `threeloops up` starts, watches and stops."""
