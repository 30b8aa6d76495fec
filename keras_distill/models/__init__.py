"""Backbones, preprocessing and the embedder built from them."""
