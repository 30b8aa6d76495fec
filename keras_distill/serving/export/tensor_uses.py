"""First uses of a tensor in a graph, through nested functions."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tensorflow.core.framework import node_def_pb2

_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
_RETURN = node_def_pb2.NodeDef(op="the result of a function")


@dataclass(frozen=True)
class TensorUse:
    """A node that takes a tensor.

    Attributes:
        node: The node, a `NodeDef`; if the tensor is the result of a function, one that says so.
        tensor: Name of the tensor in that function.
        nodes: All nodes of that function.
        returned: Names of the nodes whose results it returns.
    """

    node: Any
    tensor: str
    nodes: Sequence[Any]
    returned: Collection[str]


def library_functions(meta_graph: Any) -> dict[str, Any]:
    """Returns the functions of a `MetaGraphDef` by name."""
    return {f.signature.name: f for f in meta_graph.graph_def.library.function}


def first_uses(
    tensor: str,
    nodes: Sequence[Any],
    functions: Mapping[str, Any],
    returned: Collection[str] = (),
) -> Iterator[TensorUse]:
    """Finds the nodes that first take a tensor, in whichever function they are.

    An `Identity` is passed through, unless it waits for another operation.

    Args:
        tensor: Name of the node that has it as its result, or of an argument.
        nodes: The nodes of the graph or of the function.
        functions: All functions, by name.
        returned: Names of the nodes whose results the function returns.

    Yields:
        Each use.
    """
    if tensor in returned:  # and goes on, unchecked
        yield TensorUse(_RETURN, tensor, nodes, returned)
    for node in nodes:
        for place, taken in enumerate(node.input):
            if taken.partition(":")[0] != tensor:  # a control input begins with ^
                continue
            called = node.attr["f"].func.name if node.op in _CALLS else node.op
            if called in functions:
                body = functions[called]
                yield from first_uses(
                    body.signature.input_arg[place].name,
                    body.node_def,
                    functions,
                    {result.partition(":")[0] for result in body.ret.values()},
                )
            elif node.op == "Identity" and len(node.input) == 1:
                yield from first_uses(node.name, nodes, functions, returned)
            else:
                yield TensorUse(node, tensor, nodes, returned)
