"""Nearest-neighbour search, and an index on disk."""
