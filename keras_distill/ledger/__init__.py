"""Recall ledger: the loss of each stage from teacher to student, export and index."""
