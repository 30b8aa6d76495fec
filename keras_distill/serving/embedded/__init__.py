"""Embedded model server: TF-Serving's interface over `tf.saved_model.load`."""
