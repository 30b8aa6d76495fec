"""Reference to a model of a server."""

from dataclasses import dataclass
from typing import Any

import grpc

from keras_distill.serving.client.arguments import check_address, check_integer, check_text
from keras_distill.serving.client.errors import ServingError
from keras_distill.serving.client.messages import ModelSpec

_REMEDIES = {
    grpc.StatusCode.NOT_FOUND: "Check name and version; `python -m keras_distill.client status` "
    "lists what is loaded.",
    grpc.StatusCode.UNAVAILABLE: "Check that the server runs, that this is its gRPC port (8500 by "
    "default, not 8501), and whether it speaks TLS.",
    grpc.StatusCode.DEADLINE_EXCEEDED: "Raise timeout, or send fewer images at once.",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "Lower in_flight, or raise the server's "
    "--grpc_max_threads.",
    grpc.StatusCode.UNAUTHENTICATED: "Check metadata and TLS.",
    grpc.StatusCode.PERMISSION_DENIED: "Check metadata and TLS.",
}


@dataclass(frozen=True)
class ModelReference:
    """A model as a server is asked for it.

    Attributes:
        server: Address of the server.
        name: Name of the model.
        version: Number of the version; `None` for the newest.
        label: In its place, a label that the server gives to a version, such as `stable`.
    """

    server: str
    name: str
    version: int | None = None
    label: str | None = None

    def __post_init__(self) -> None:
        check_address(self.server)
        check_text("model", self.name, "the name under which it is served")
        check_integer("version", self.version, optional=True)
        check_text("label", self.label, "a label such as stable", optional=True)
        if self.version is not None and self.label is not None:
            raise ValueError(f"version={self.version} and label={self.label!r}: give one of them.")

    def __str__(self) -> str:
        which = f" version {self.version}" if self.version is not None else ""
        which += f" label {self.label!r}" if self.label is not None else ""
        return f"model {self.name!r}{which} at {self.server}"

    def spec(self, signature: str = "") -> Any:
        """Returns the `ModelSpec` that asks for it, and for a signature of it."""
        spec = ModelSpec(name=self.name, signature_name=signature)
        if self.version is not None:
            spec.version.value = self.version
        if self.label is not None:
            spec.version_label = self.label
        return spec

    def failure(self, error: grpc.RpcError) -> ServingError:
        """Returns what to raise for a call that failed, with a remedy."""
        return ServingError(f"{self}: {reason(error)}", error.code())


def reason(error: grpc.RpcError) -> str:
    """Returns what a call failed with, and a remedy: one or two sentences, with their full stop."""
    said = first_line(error)
    text = f"{error.code().name}: {said}" if said else error.code().name
    stop = "" if text.endswith(("!", "?")) else "."
    remedy = _REMEDIES.get(error.code())
    return f"{text}{stop} {remedy}" if remedy else f"{text}{stop}"


def first_line(error: grpc.RpcError) -> str:
    """Returns what a server said, without the names of nodes of its graph."""
    return (error.details() or "").partition("\n")[0].rstrip(". ")
