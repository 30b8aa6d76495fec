"""Keras models whose training step is the method."""
