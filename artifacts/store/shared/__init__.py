"""A store that several data folders share: bytes by name in a bucket or a folder, and leases."""
