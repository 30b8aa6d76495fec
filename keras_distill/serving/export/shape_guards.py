"""Check that a SavedModel verifies the shapes that it receives."""

from typing import Any

import tensorflow as tf

from keras_distill.serving.export.signature_defs import predict_signatures
from keras_distill.serving.export.tensor_uses import first_uses, library_functions


def shape_guard_faults(meta_graph: Any) -> list[str]:
    """Finds the inputs of signatures that reach an operation before their shape is checked.

    TF-Serving does not compare a request with the signature. Where an input goes straight into a
    network, a tensor of another rank aborts the whole server (a CHECK in TensorFlow's oneDNN
    kernels), and one of another size may be answered. No call in Python shows this, for sessions
    and concrete functions check shapes themselves.

    Args:
        meta_graph: A `MetaGraphDef`.

    Returns:
        A sentence for each input whose first operations, through nested functions, are not all
        `tf.ensure_shape` with the shape of the signature.
    """
    functions = library_functions(meta_graph)
    faults = []
    for name, signature in predict_signatures(meta_graph).items():
        for key, info in sorted(signature.inputs.items()):
            declared = tf.TensorShape(info.tensor_shape)
            tensor = info.name.partition(":")[0]
            uses = [use.node for use in first_uses(tensor, meta_graph.graph_def.node, functions)]
            unguarded = sorted({node.op for node in uses if not _checks(node, declared)})
            if declared.rank is None:
                faults.append(f"{name}: the input {key!r} may have any rank")
            elif unguarded or not uses:
                what = f"{', '.join(unguarded)} before" if unguarded else "nothing, not even"
                faults.append(
                    f"{name}: the input {key!r} goes into {what} tf.ensure_shape(…, {declared}); "
                    "a request of another rank would abort the server"
                )
    return faults


def _checks(node: Any, declared: tf.TensorShape) -> bool:
    if node.op != "EnsureShape" or declared.rank is None:
        return False
    checked = tf.TensorShape(node.attr["shape"].shape)
    return checked.rank is not None and checked.as_list() == declared.as_list()
