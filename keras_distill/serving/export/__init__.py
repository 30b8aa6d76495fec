"""Models as files that others load."""
