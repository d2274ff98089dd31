"""The pure judgement: scorers, selection rules, and estimates with honest intervals.

Nothing here runs a model, touches a disk, or reads a clock.
"""
