"""Refusals for errors of a graph."""

import re

import grpc
import tensorflow as tf

from keras_distill.serving.embedded.refusal import Refusal

_CODES = {code.value[0]: code for code in grpc.StatusCode}
# Python puts the place in the graph before the error, and the operation behind it.
_BEFORE = re.compile(
    r"\AGraph execution error:\n\n(Detected at node .*\n)*(<stack traces unavailable>\n)*"
)
_FIRST_OF_SEVERAL = re.compile(r"\A\d+ root error\(s\) found\.\n\s*\(0\) [A-Z_]+:\s*")
_BEHIND = re.compile(r"(\n\t \[\[| \[Op:).*", re.S)


def graph_refusal(error: tf.errors.OpError) -> Refusal:
    r"""Returns the status and the message of a failed operation, without the names of nodes.

    Args:
        error: The error that TensorFlow raised.

    Returns:
        The refusal to raise instead.

    Example:
        >>> text = "Graph execution error:\n\nDetected at node a/b defined at (...):\n"
        >>> text += "Input is empty.\n\t [[{{node a/b}}]]"
        >>> graph_refusal(tf.errors.InvalidArgumentError(None, None, text)).message
        'Input is empty.'
    """
    message = _FIRST_OF_SEVERAL.sub("", _BEFORE.sub("", str(error.message)))
    return Refusal(_CODES.get(error.error_code, grpc.StatusCode.UNKNOWN), _BEHIND.sub("", message))
