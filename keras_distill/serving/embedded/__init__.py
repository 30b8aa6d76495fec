"""Embedded model server: TF-Serving's interface over a session of TensorFlow."""
