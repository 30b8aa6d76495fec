"""Trainings that differ in one setting."""
