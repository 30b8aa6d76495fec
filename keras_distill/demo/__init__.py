"""The main job on a generated data set."""
