"""One Prefect task each: read what the references name, make one pure call, write the result."""
