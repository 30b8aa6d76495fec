"""The graph and the signatures in the file of a SavedModel."""

from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import saved_model_pb2

from keras_distill.errors import InputError


def read_meta_graph(folder: Path) -> Any:
    """Reads what TF-Serving would load of a SavedModel.

    Args:
        folder: Folder of the SavedModel.

    Returns:
        The `MetaGraphDef` with the tag `serve`.

    Raises:
        InputError: If there is none.
    """
    try:
        saved = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    except (OSError, DecodeError) as error:
        raise InputError(
            f"{str(folder)!r} holds no readable saved_model.pb ({error}); give the folder of a "
            "version, such as models/photos/1."
        ) from error
    for meta_graph in saved.meta_graphs:
        if list(meta_graph.meta_info_def.tags) == ["serve"]:
            return meta_graph
    raise InputError(f"{str(folder)!r} has no graph with the tag 'serve', which TF-Serving loads.")


def predict_signatures(meta_graph: Any) -> dict[str, Any]:
    """Returns the signatures that a client can call, by name, sorted."""
    return {
        name: meta_graph.signature_def[name]
        for name in sorted(meta_graph.signature_def)
        if meta_graph.signature_def[name].method_name == "tensorflow/serving/predict"
    }
