"""One Prefect task each: read what the references name, make one pure call, write the result.

What the numbers mean is decided in `scorers` and `policy`; where bytes lie, in `artifacts`.
"""
