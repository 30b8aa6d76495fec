"""The SavedModel bundle that TF-Serving loads."""
