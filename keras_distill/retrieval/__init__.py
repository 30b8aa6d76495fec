"""Embedding a data set, exact nearest neighbours, and the metrics on them."""
