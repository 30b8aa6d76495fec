"""The SavedModel bundle that TF-Serving loads, and the client of a served model."""
