"""Whether a SavedModel checks the shapes that it is sent."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import tensorflow as tf
from tensorflow.core.framework import node_def_pb2

from keras_distill.serving.signature_defs import predict_signatures

_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
_RETURN = node_def_pb2.NodeDef(op="the result of a function")


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
    functions = {f.signature.name: f for f in meta_graph.graph_def.library.function}
    faults = []
    for name, signature in predict_signatures(meta_graph).items():
        for key, info in sorted(signature.inputs.items()):
            declared = tf.TensorShape(info.tensor_shape)
            tensor = info.name.partition(":")[0]
            uses = list(_first_uses(tensor, meta_graph.graph_def.node, functions))
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


def _first_uses(
    tensor: str,
    nodes: Iterable[Any],
    functions: Mapping[str, Any],
    returned: Collection[str] = (),
) -> Iterator[Any]:
    """The nodes that first take a tensor, in whichever function they are."""
    if tensor in returned:  # and goes on, unchecked
        yield _RETURN
    for node in nodes:
        for place, taken in enumerate(node.input):
            if taken.partition(":")[0] != tensor:  # a control input begins with ^
                continue
            called = node.attr["f"].func.name if node.op in _CALLS else node.op
            if called in functions:
                body = functions[called]
                yield from _first_uses(
                    body.signature.input_arg[place].name,
                    body.node_def,
                    functions,
                    {result.partition(":")[0] for result in body.ret.values()},
                )
            elif node.op == "Identity":
                yield from _first_uses(node.name, nodes, functions, returned)
            else:
                yield node


def _checks(node: Any, declared: tf.TensorShape) -> bool:
    if node.op != "EnsureShape" or declared.rank is None:
        return False
    checked = tf.TensorShape(node.attr["shape"].shape)
    return checked.rank is not None and checked.as_list() == declared.as_list()
