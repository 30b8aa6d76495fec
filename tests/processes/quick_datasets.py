"""Datasets that begin sooner: `tf.data` does not optimize their graphs.

That changes none of their elements, and takes a quarter of the time of a tiny training.
"""

import sys


def begin_sooner():
    """Leaves the optimization out for all datasets of this process, if TensorFlow is loaded."""
    if "tensorflow" not in sys.modules:
        return
    import tensorflow as tf

    begin = tf.data.Dataset.__iter__

    def begin_as_it_stands(dataset):
        options = tf.data.Options()
        options.experimental_optimization.apply_default_optimizations = False
        return begin(dataset.with_options(options))

    tf.data.Dataset.__iter__ = begin_as_it_stands
