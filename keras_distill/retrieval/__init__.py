"""Embedding a data set, nearest neighbours, the metrics on them, and an index on disk."""
