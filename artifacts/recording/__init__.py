"""From measurements to what a run keeps: metrics, tables, pictures and one result."""
