"""Training: the run loop, optimisers and callbacks."""
