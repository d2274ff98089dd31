"""The contracts between rooms: table schemas, frozen configurations, identities and errors."""
