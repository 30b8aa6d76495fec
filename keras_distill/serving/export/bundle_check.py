"""Check of an exported model before it is served."""

from pathlib import Path

import tensorflow as tf

from keras_distill.serving.client.golden_pairs import GOLDEN_FOLDER, read_golden
from keras_distill.serving.export.checksums import checksum_faults
from keras_distill.serving.export.graph_checks import graph_faults
from keras_distill.serving.export.session_model import SessionModel
from keras_distill.serving.export.signature_defs import read_meta_graph
from keras_distill.serving.export.warmup import warmup_faults


def check_bundle(folder: Path) -> list[str]:
    """Checks a SavedModel without the model that it was made of.

    Its files by their sums, its graph without running it, and, loaded as TF-Serving loads it, its
    warm-up and its golden requests. A SavedModel that was not exported here has only a graph.

    Args:
        folder: Folder of the SavedModel, such as `models/birds/1`.

    Returns:
        One sentence a fault; empty if it is fit.

    Raises:
        InputError: If it is no SavedModel, or its golden requests cannot be read.
    """
    meta_graph = read_meta_graph(folder)
    faults = checksum_faults(folder) + graph_faults(meta_graph)
    try:
        loaded = SessionModel(folder)
    except (tf.errors.OpError, OSError, ValueError, RuntimeError) as error:
        return [*faults, f"it cannot be loaded: {error}"]
    with loaded as model:
        return faults + warmup_faults(model, folder) + _golden_faults(model, folder)


def _golden_faults(model: SessionModel, folder: Path) -> list[str]:
    faults = []
    for pair in read_golden(folder) if (folder / GOLDEN_FOLDER).is_dir() else ():
        try:
            outputs = model.run(pair.request)
            if pair.output not in outputs:
                raise ValueError(f"no output {pair.output!r}, only {', '.join(sorted(outputs))}")
        except (tf.errors.OpError, ValueError) as error:
            faults.append(f"golden {pair.label} fails: {error}")
        else:
            faults += pair.faults(pair.closeness(outputs[pair.output]))
    return faults
