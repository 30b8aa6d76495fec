"""Check that a SavedModel counts the rows that it receives."""

from typing import Any

from keras_distill.serving.export.signature_defs import predict_signatures
from keras_distill.serving.export.tensor_uses import TensorUse, first_uses, library_functions

_MEASURES = ("Shape", "Size")
_COMPARES = ("Less", "LessEqual")


def row_bound_faults(meta_graph: Any) -> list[str]:
    """Finds the inputs of signatures whose rows are not counted before anything else is done.

    One string in a request stands for as many rows as the shape of its tensor claims: observed on
    TF-Serving, 2 kB were 100,000 images to decode, 34 s and 8.7 GB.

    Args:
        meta_graph: A `MetaGraphDef`.

    Returns:
        A sentence for each input that goes from `tf.ensure_shape` into an operation that does not
        wait for an assertion on its shape, as in `bounded_rows`. Inputs without `tf.ensure_shape`
        are left to `shape_guard_faults`.
    """
    functions = library_functions(meta_graph)
    faults = []
    for name, signature in predict_signatures(meta_graph).items():
        for key, info in sorted(signature.inputs.items()):
            tensor = info.name.partition(":")[0]
            unbounded = {
                use.node.op
                for guard in first_uses(tensor, meta_graph.graph_def.node, functions)
                if guard.node.op == "EnsureShape"
                for use in first_uses(guard.node.name, guard.nodes, functions, guard.returned)
                if use.node.op not in _MEASURES and not _waits_for_count(use)
            }
            if unbounded:
                faults.append(
                    f"{name}: the input {key!r} goes into {', '.join(sorted(unbounded))} before "
                    "its rows are counted, and a request of 2 kB may claim 100,000 of them; pass "
                    "it through keras_distill.serving.export.request_bounds.bounded_rows"
                )
    return faults


def _waits_for_count(use: TensorUse) -> bool:
    """Whether an assertion that bounds the shape of the tensor comes before its use."""
    by_name = {node.name: node for node in use.nodes}
    asserted = (by_name.get(name[1:]) for name in use.node.input if name.startswith("^"))
    return any(
        node is not None and node.op == "Assert" and _bounds(node.input[0], use.tensor, by_name)
        for node in asserted
    )


def _bounds(condition: str, tensor: str, by_name: dict[str, Any]) -> bool:
    compared = by_name.get(condition.partition(":")[0])
    if compared is None or compared.op not in _COMPARES:
        return False
    sought = [compared.input[0]]
    while sought:
        node = by_name.get(sought.pop().partition(":")[0])
        if node is None:
            continue
        if node.op in _MEASURES and node.input[0].partition(":")[0] == tensor:
            return True
        sought += node.input
    return False
