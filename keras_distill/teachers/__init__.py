"""Anything that yields teacher embeddings."""
