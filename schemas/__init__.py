"""The contracts between rooms: table schemas, frozen configurations, identities and errors.

Nothing here runs a model, scores a text or writes a file.
"""
