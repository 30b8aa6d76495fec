"""Runs on disk: directory, checkpoints, settings, stages."""
