"""Methods: Keras models whose training step is an algorithm."""
