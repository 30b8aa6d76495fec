"""Recipes: from settings to the stages of a training."""
