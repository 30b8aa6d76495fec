"""Faults that TF-Serving would meet, found in the graph of a SavedModel without running it."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from keras_distill.serving.export.row_bounds import row_bound_faults
from keras_distill.serving.export.shape_guards import shape_guard_faults
from keras_distill.serving.export.signature_defs import predict_signatures

_HALF = {tf.float16.as_datatype_enum: "float16", tf.bfloat16.as_datatype_enum: "bfloat16"}


def graph_faults(meta_graph: Any) -> list[str]:
    """Lists what keeps a SavedModel from being served well.

    Args:
        meta_graph: A `MetaGraphDef`.

    Returns:
        One sentence a fault; empty if there is none.
    """
    signatures = predict_signatures(meta_graph)
    if not signatures:
        return ["there is no signature that predicts"]
    return [
        *shape_guard_faults(meta_graph),
        *row_bound_faults(meta_graph),
        *_xla_faults(meta_graph.graph_def),
        *_precision_faults(meta_graph.graph_def, signatures),
        *_batch_faults(signatures),
        *_queue_faults(meta_graph.graph_def),
    ]


def _xla_faults(graph: Any) -> list[str]:
    """Functions that only run compiled: without XLA, a server loads them and fails each call."""
    compiled = [
        function.signature.name
        for function in graph.library.function
        if function.attr["_XlaMustCompile"].b
    ]
    compiled += [node.name for node in _nodes(graph) if node.attr["_XlaMustCompile"].b]
    if not compiled:
        return []
    return [
        f"{len(compiled)} functions or calls, such as {compiled[0]!r}, must be compiled by XLA, "
        "which TF-Serving refuses at every request. Keras asks for it where a convolution has "
        "groups, as in ConvNeXt: choose another backbone (a MobileNet's depthwise convolutions are "
        "fine), and build models without jit_compile"
    ]


def _precision_faults(graph: Any, signatures: dict[str, Any]) -> list[str]:
    """Halves of float32: on CPUs no faster or ten times slower, and other vectors."""
    faults = [
        f"{name}: the output {key!r} is {_HALF[info.dtype]}, not float32"
        for name, signature in signatures.items()
        for key, info in sorted(signature.outputs.items())
        if info.dtype in _HALF
    ]
    computed = Counter(
        _HALF[kind]
        for node in _nodes(graph)
        for kind in {value.type for value in node.attr.values()}
        if kind in _HALF
    )
    return faults + [
        f"{count} operations compute in {name}; build the model under the policy float32 and copy "
        "the weights"
        for name, count in sorted(computed.items())
    ]


def _batch_faults(signatures: dict[str, Any]) -> list[str]:
    """Outputs without a row for each image, which neither clients nor batching can take apart."""
    faults = []
    for name, signature in signatures.items():
        for key, info in sorted(signature.outputs.items()):
            shape = tf.TensorShape(info.tensor_shape)
            if not shape.rank or shape[0] is not None:
                faults.append(
                    f"{name}: the output {key!r} has the shape {shape}, which does not begin with "
                    "an open batch dimension"
                )
    return faults


def _queue_faults(graph: Any) -> list[str]:
    """Queues that would be given what cannot be concatenated, by which the server aborts."""
    queued: dict[tuple[bytes, ...], set[tuple[int, ...]]] = {}
    for node in _nodes(graph):
        if node.op == "BatchFunction":
            name = node.attr["shared_name"].s or node.name.encode()
            queue = node.attr["container"].s, name, node.attr["batching_queue"].s
            queued.setdefault(queue, set()).add(tuple(node.attr["Tin"].list.type))
    return [
        f"batches of {' and '.join(sorted(tf.as_dtype(types[0]).name for types in kinds))} share "
        f"the queue {name.decode()!r}, and a request of each at one time would abort the server; "
        "call tf.nondifferentiable_batch_function below tf.name_scope of another name for each"
        for (_, name, _), kinds in sorted(queued.items())
        if len(kinds) > 1
    ]


def _nodes(graph: Any) -> Iterator[Any]:
    yield from graph.node
    for function in graph.library.function:
        yield from function.node_def
