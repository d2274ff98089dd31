"""Benchmarks of threeloops against what a user would take instead: `make bench`.

One file per benchmark; `plan` says which run when, `report` writes docs/benchmarks.md. Each
measurement is a fresh process, so that its peak memory is its own. Nothing imports this package.
"""
