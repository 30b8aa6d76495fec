"""Distils big image-embedding networks into small ones, with Keras 3 on TensorFlow.

The public names are imported at first use: `import keras_distill` loads neither TensorFlow nor
Keras, so the commands answer `--help` at once and the serving client stays light.
"""

import importlib
import sys

# `python -m keras_distill.COMMAND` imports this first; `sys.argv` has "-m" in its place meanwhile.
if sys.argv[:1] == ["-m"] and "keras_distill" in sys.orig_argv[-len(sys.argv)]:
    from keras_distill.interruption import end_at_once_on_ctrl_c

    end_at_once_on_ctrl_c()

from keras_distill.version import __version__ as __version__

_HOME_OF = {
    "AbsoluteTeacher": "losses.absolute_teacher",
    "AddonsLoss": "losses.tensorflow_addons",
    "ArcFace": "losses.arc_face",
    "AsyncEmbeddingClient": "serving.async_client",
    "AttentionMaps": "losses.attention_maps",
    "AveragedStudent": "training.averaged_student",
    "BatchAllTriplet": "losses.batch_all_triplet",
    "BatchHardTriplet": "losses.batch_hard_triplet",
    "Contrastive": "losses.contrastive",
    "CosineTeacher": "losses.cosine_teacher",
    "CrossBatchMemory": "losses.cross_batch_memory",
    "Distiller": "training.distiller",
    "EmbeddingClient": "serving.client",
    "Hint": "losses.hint",
    "ImagesRefused": "serving.client_errors",
    "IndexEntries": "retrieval.index_parts",
    "InputError": "errors",
    "KdeTeacher": "losses.kde_teacher",
    "LayerFreezing": "training.layer_freezing",
    "LiftedStructure": "losses.lifted_structure",
    "MultiSimilarity": "losses.multi_similarity",
    "NPairs": "losses.n_pairs",
    "ProbabilisticTransfer": "losses.probabilistic_transfer",
    "ProxyAnchor": "losses.proxy_anchor",
    "RatedAdam": "training.rated_optimizers",
    "RatedSGD": "training.rated_optimizers",
    "RelativeTeacher": "losses.relative_teacher",
    "ResumableCallbacks": "training.resumable_callbacks",
    "RkdAngle": "losses.rkd_angle",
    "RkdDistance": "losses.rkd_distance",
    "SemiHardTriplet": "losses.semi_hard_triplet",
    "ServingError": "serving.client_errors",
    "SimilarityPreserving": "losses.similarity_preserving",
    "TaskLoss": "losses.task_loss",
    "TeacherCache": "teachers.cache",
    "TeacherLoss": "losses.teacher_loss",
    "Tls": "serving.channel",
    "VectorIndex": "retrieval.vector_index",
    "VectorTable": "teachers.vector_table",
    "add_to_index": "retrieval.index_changes",
    "build_embedder": "models.embedder",
    "build_index": "retrieval.index_changes",
    "build_searcher": "retrieval.backends",
    "by_variable": "training.rated_optimizers",
    "delete_from_index": "retrieval.index_changes",
    "embed_batches": "retrieval.embedding",
    "evaluation_batches": "data.pipeline",
    "export_embedder": "serving.bundle",
    "load_dataset": "data.dataset",
    "load_teacher": "teachers.loading",
    "open_index": "retrieval.vector_index",
    "rebuild_index": "retrieval.index_changes",
    "retrieval_metrics": "retrieval.metrics",
    "training_batches": "data.pipeline",
}

__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME_OF])
