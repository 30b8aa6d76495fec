"""Losses of regression and ranking."""
