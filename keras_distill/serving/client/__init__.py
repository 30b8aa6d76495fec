"""Client of TF-Serving, without TensorFlow and Keras."""
