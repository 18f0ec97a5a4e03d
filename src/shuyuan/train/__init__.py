"""The engine: one loop, many losses."""
