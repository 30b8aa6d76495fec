"""Running a model over images."""
