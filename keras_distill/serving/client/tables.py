"""Tables for people of what a server answered."""

from collections.abc import Iterable

from rich.table import Table

from keras_distill.serving.client.model_reference import ModelReference
from keras_distill.serving.client.model_status import VersionStatus
from keras_distill.serving.client.output_contract import EMBEDDING
from keras_distill.serving.client.smoke import SmokeResult


def status_table(reference: ModelReference, states: Iterable[VersionStatus]) -> Table:
    """Returns a table of the versions of a model.

    Args:
        reference: The model.
        states: Its versions.
    """
    table = Table("version", "state", "error", title=str(reference))
    for state in states:
        table.add_row(str(state.version), state.state, state.error)
    return table


def smoke_table(reference: ModelReference, tested: SmokeResult) -> Table:
    """Returns a table of the result of a smoke test.

    Args:
        reference: The model.
        tested: The result.
    """
    table = Table(show_header=False, title=str(reference))
    table.add_row("version", str(tested.model.version))
    size = "×".join(str(side or "any") for side in tested.model.image_shape[:2])
    table.add_row("image", size)
    if tested.model.dim is not None:
        table.add_row("width", str(tested.model.dim))
    for name, shape in tested.model.outputs.items():
        if name != EMBEDDING:
            table.add_row(name, "×".join(map(str, shape)) or "a number")
    for name, length in tested.lengths.items():
        table.add_row(f"length of {name}", f"{length:.6f}")
    for names, cosines in (
        ("cosine of", tested.cosines),
        ("cosine of golden", tested.golden),
        ("cosine by REST of", tested.rest),
    ):
        for name, cosine in cosines.items():
            table.add_row(f"{names} {name}", f"{cosine:.6f}")
    return table
