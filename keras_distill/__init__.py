"""Distils big image-embedding networks into small ones, with Keras 3 on TensorFlow.

The public names are imported at first use: `import keras_distill` loads neither TensorFlow nor
Keras, so the commands answer `--help` at once and the serving client stays light.
"""

__version__ = "0.1.0"

import importlib
import sys
from typing import TYPE_CHECKING

# `python -m keras_distill.COMMAND` imports this first; `sys.argv` has "-m" in its place meanwhile.
if sys.argv[:1] == ["-m"] and "keras_distill" in sys.orig_argv[-len(sys.argv)]:
    from keras_distill.settings.interruption import end_at_once_on_ctrl_c

    end_at_once_on_ctrl_c()

if TYPE_CHECKING:  # the same names for type checkers and editors, which do not run `__getattr__`
    from keras_distill.data.album_targets import read_albums as read_albums
    from keras_distill.data.class_batches import class_batches as class_batches
    from keras_distill.data.class_images import load_class_images as load_class_images
    from keras_distill.data.class_prior_file import read_class_prior as read_class_prior
    from keras_distill.data.class_prior_file import write_class_prior as write_class_prior
    from keras_distill.data.dataset import load_dataset as load_dataset
    from keras_distill.data.image_batches import image_batches as image_batches
    from keras_distill.data.image_split import split_by_image as split_by_image
    from keras_distill.data.label_targets import read_label_targets as read_label_targets
    from keras_distill.data.partial_annotations import drop_annotations as drop_annotations
    from keras_distill.data.partial_annotations import (
        keep_annotations_per_class as keep_annotations_per_class,
    )
    from keras_distill.data.pipeline import evaluation_batches as evaluation_batches
    from keras_distill.data.pipeline import training_batches as training_batches
    from keras_distill.data.stratified_split import stratified_split as stratified_split
    from keras_distill.data.view_changes import ViewChanges as ViewChanges
    from keras_distill.data.word_vectors import load_word_vectors as load_word_vectors
    from keras_distill.embedding.batches import embed_batches as embed_batches
    from keras_distill.errors import InputError as InputError
    from keras_distill.evaluation.accuracy_metrics import accuracy_metrics as accuracy_metrics
    from keras_distill.evaluation.confidence_gap import ConfidenceGap as ConfidenceGap
    from keras_distill.evaluation.label_decisions import (
        best_label_thresholds as best_label_thresholds,
    )
    from keras_distill.evaluation.multilabel_metrics import multilabel_metrics as multilabel_metrics
    from keras_distill.evaluation.precision_recall_picture import (
        draw_precision_recall as draw_precision_recall,
    )
    from keras_distill.evaluation.retrieval_metrics import retrieval_metrics as retrieval_metrics
    from keras_distill.evaluation.verification_metrics import all_pair_metrics as all_pair_metrics
    from keras_distill.evaluation.verification_metrics import (
        verification_metrics as verification_metrics,
    )
    from keras_distill.losses.absolute_teacher import AbsoluteTeacher as AbsoluteTeacher
    from keras_distill.losses.anchor_kl import AnchorKL as AnchorKL
    from keras_distill.losses.arc_face import ArcFace as ArcFace
    from keras_distill.losses.asymmetric_teacher import AsymmetricTeacher as AsymmetricTeacher
    from keras_distill.losses.attention_maps import AttentionMaps as AttentionMaps
    from keras_distill.losses.batch_all_triplet import BatchAllTriplet as BatchAllTriplet
    from keras_distill.losses.batch_hard_triplet import BatchHardTriplet as BatchHardTriplet
    from keras_distill.losses.contrastive import Contrastive as Contrastive
    from keras_distill.losses.contrastive_teacher import ContrastiveTeacher as ContrastiveTeacher
    from keras_distill.losses.cosine_teacher import CosineTeacher as CosineTeacher
    from keras_distill.losses.cross_batch_memory import CrossBatchMemory as CrossBatchMemory
    from keras_distill.losses.d3still import D3still as D3still
    from keras_distill.losses.hint import Hint as Hint
    from keras_distill.losses.kde_teacher import KdeTeacher as KdeTeacher
    from keras_distill.losses.keras_distillation import KerasTeacherLoss as KerasTeacherLoss
    from keras_distill.losses.label_distillation import LabelDistillation as LabelDistillation
    from keras_distill.losses.labels.asymmetric_loss import AsymmetricLoss as AsymmetricLoss
    from keras_distill.losses.labels.asymmetric_softmax_loss import (
        AsymmetricSoftmaxLoss as AsymmetricSoftmaxLoss,
    )
    from keras_distill.losses.labels.partial_selective_loss import (
        PartialSelectiveLoss as PartialSelectiveLoss,
    )
    from keras_distill.losses.labels.semantic_diversity_loss import (
        SemanticDiversityLoss as SemanticDiversityLoss,
    )
    from keras_distill.losses.lifted_structure import LiftedStructure as LiftedStructure
    from keras_distill.losses.logits_teacher import LogitsTeacher as LogitsTeacher
    from keras_distill.losses.margin_softmax import MarginSoftmax as MarginSoftmax
    from keras_distill.losses.multi_similarity import MultiSimilarity as MultiSimilarity
    from keras_distill.losses.n_pairs import NPairs as NPairs
    from keras_distill.losses.probabilistic_transfer import (
        ProbabilisticTransfer as ProbabilisticTransfer,
    )
    from keras_distill.losses.projector import Projector as Projector
    from keras_distill.losses.proxy_anchor import ProxyAnchor as ProxyAnchor
    from keras_distill.losses.ranking.all_pairs_ranking_hinge import (
        AllPairsRankingHinge as AllPairsRankingHinge,
    )
    from keras_distill.losses.ranking.known_squared_error import (
        KnownSquaredError as KnownSquaredError,
    )
    from keras_distill.losses.relative_teacher import RelativeTeacher as RelativeTeacher
    from keras_distill.losses.relaxed_contrastive import RelaxedContrastive as RelaxedContrastive
    from keras_distill.losses.rkd_angle import RkdAngle as RkdAngle
    from keras_distill.losses.rkd_distance import RkdDistance as RkdDistance
    from keras_distill.losses.self_distillation import SelfDistillation as SelfDistillation
    from keras_distill.losses.semi_hard_triplet import SemiHardTriplet as SemiHardTriplet
    from keras_distill.losses.similarity_preserving import (
        SimilarityPreserving as SimilarityPreserving,
    )
    from keras_distill.losses.task_loss import TaskLoss as TaskLoss
    from keras_distill.losses.teacher_head import TeacherHead as TeacherHead
    from keras_distill.losses.teacher_loss import TeacherLoss as TeacherLoss
    from keras_distill.losses.teacher_references import TeacherReferences as TeacherReferences
    from keras_distill.losses.tensorflow_addons import AddonsLoss as AddonsLoss
    from keras_distill.methods.distiller import Distiller as Distiller
    from keras_distill.methods.supervised import Supervised as Supervised
    from keras_distill.models.album_classifier import (
        build_album_classifier as build_album_classifier,
    )
    from keras_distill.models.album_encoder import AlbumEncoder as AlbumEncoder
    from keras_distill.models.album_means import mean_probabilities as mean_probabilities
    from keras_distill.models.album_means import mean_vectors as mean_vectors
    from keras_distill.models.album_model import build_album_model as build_album_model
    from keras_distill.models.class_head import ClassHead as ClassHead
    from keras_distill.models.class_head import load_class_head as load_class_head
    from keras_distill.models.class_head import split_head as split_head
    from keras_distill.models.classifier import build_classifier as build_classifier
    from keras_distill.models.cosine_head import CosineHead as CosineHead
    from keras_distill.models.counter import build_counter as build_counter
    from keras_distill.models.embedder import build_embedder as build_embedder
    from keras_distill.models.embedding_output import embedder_of as embedder_of
    from keras_distill.models.embedding_output import with_embedding as with_embedding
    from keras_distill.models.frozen_batch_norm import freeze_batch_norm as freeze_batch_norm
    from keras_distill.models.label_names import LabelNames as LabelNames
    from keras_distill.models.label_names import find_labels as find_labels
    from keras_distill.models.mirror_average import mirror_averaged as mirror_averaged
    from keras_distill.models.mixed_heads import mix_heads as mix_heads
    from keras_distill.models.open_size import with_open_size as with_open_size
    from keras_distill.models.score_scale import ScoreScale as ScoreScale
    from keras_distill.models.score_scale import find_score_scale as find_score_scale
    from keras_distill.models.scorer import add_score as add_score
    from keras_distill.models.scorer import build_scorer as build_scorer
    from keras_distill.models.unfolded_batch_norm import unfold_batch_norm as unfold_batch_norm
    from keras_distill.models.word_space import build_word_classifier as build_word_classifier
    from keras_distill.models.word_space import build_word_space as build_word_space
    from keras_distill.models.word_space import word_scores as word_scores
    from keras_distill.retrieval.backends import build_searcher as build_searcher
    from keras_distill.retrieval.index_changes import add_to_index as add_to_index
    from keras_distill.retrieval.index_changes import build_index as build_index
    from keras_distill.retrieval.index_changes import delete_from_index as delete_from_index
    from keras_distill.retrieval.index_changes import rebuild_index as rebuild_index
    from keras_distill.retrieval.index_parts import IndexEntries as IndexEntries
    from keras_distill.retrieval.vector_index import VectorIndex as VectorIndex
    from keras_distill.retrieval.vector_index import open_index as open_index
    from keras_distill.selection.coverage import best_covering as best_covering
    from keras_distill.selection.k_centre import k_centre as k_centre
    from keras_distill.selection.ranking_consistency import (
        ranking_consistency as ranking_consistency,
    )
    from keras_distill.selection.uncertainty import uncertainty as uncertainty
    from keras_distill.serving.client.async_client import (
        AsyncEmbeddingClient as AsyncEmbeddingClient,
    )
    from keras_distill.serving.client.channel import Tls as Tls
    from keras_distill.serving.client.client import EmbeddingClient as EmbeddingClient
    from keras_distill.serving.client.errors import ImagesRefused as ImagesRefused
    from keras_distill.serving.client.errors import ServingError as ServingError
    from keras_distill.serving.client.output_labels import OutputLabels as OutputLabels
    from keras_distill.serving.client.output_labels import read_labels as read_labels
    from keras_distill.serving.export.bundle import export_embedder as export_embedder
    from keras_distill.serving.export.bundle import export_model as export_model
    from keras_distill.teachers.cache import TeacherCache as TeacherCache
    from keras_distill.teachers.loading import load_teacher as load_teacher
    from keras_distill.teachers.vector_table import VectorTable as VectorTable
    from keras_distill.training.accuracy_validation import AccuracyValidation as AccuracyValidation
    from keras_distill.training.adaptive_asymmetry import AdaptiveAsymmetry as AdaptiveAsymmetry
    from keras_distill.training.averaged_student import AveragedStudent as AveragedStudent
    from keras_distill.training.class_prior import ClassPrior as ClassPrior
    from keras_distill.training.layer_freezing import LayerFreezing as LayerFreezing
    from keras_distill.training.layerwise_optimizers import LayerwiseAdam as LayerwiseAdam
    from keras_distill.training.layerwise_optimizers import LayerwiseSGD as LayerwiseSGD
    from keras_distill.training.layerwise_optimizers import (
        multipliers_by_variable as multipliers_by_variable,
    )
    from keras_distill.training.one_cycle import OneCycle as OneCycle
    from keras_distill.training.recall_validation import RecallValidation as RecallValidation
    from keras_distill.training.resumable_callbacks import ResumableCallbacks as ResumableCallbacks

_HOME_OF = {
    "AbsoluteTeacher": "losses.absolute_teacher",
    "AccuracyValidation": "training.accuracy_validation",
    "AdaptiveAsymmetry": "training.adaptive_asymmetry",
    "AddonsLoss": "losses.tensorflow_addons",
    "AlbumEncoder": "models.album_encoder",
    "AllPairsRankingHinge": "losses.ranking.all_pairs_ranking_hinge",
    "AnchorKL": "losses.anchor_kl",
    "ArcFace": "losses.arc_face",
    "AsymmetricLoss": "losses.labels.asymmetric_loss",
    "AsymmetricSoftmaxLoss": "losses.labels.asymmetric_softmax_loss",
    "AsymmetricTeacher": "losses.asymmetric_teacher",
    "AsyncEmbeddingClient": "serving.client.async_client",
    "AttentionMaps": "losses.attention_maps",
    "AveragedStudent": "training.averaged_student",
    "BatchAllTriplet": "losses.batch_all_triplet",
    "BatchHardTriplet": "losses.batch_hard_triplet",
    "ClassHead": "models.class_head",
    "ClassPrior": "training.class_prior",
    "ConfidenceGap": "evaluation.confidence_gap",
    "Contrastive": "losses.contrastive",
    "ContrastiveTeacher": "losses.contrastive_teacher",
    "CosineHead": "models.cosine_head",
    "CosineTeacher": "losses.cosine_teacher",
    "CrossBatchMemory": "losses.cross_batch_memory",
    "D3still": "losses.d3still",
    "Distiller": "methods.distiller",
    "EmbeddingClient": "serving.client.client",
    "Hint": "losses.hint",
    "ImagesRefused": "serving.client.errors",
    "IndexEntries": "retrieval.index_parts",
    "InputError": "errors",
    "KdeTeacher": "losses.kde_teacher",
    "KerasTeacherLoss": "losses.keras_distillation",
    "KnownSquaredError": "losses.ranking.known_squared_error",
    "LabelDistillation": "losses.label_distillation",
    "LabelNames": "models.label_names",
    "LayerFreezing": "training.layer_freezing",
    "LayerwiseAdam": "training.layerwise_optimizers",
    "LayerwiseSGD": "training.layerwise_optimizers",
    "LiftedStructure": "losses.lifted_structure",
    "LogitsTeacher": "losses.logits_teacher",
    "MarginSoftmax": "losses.margin_softmax",
    "MultiSimilarity": "losses.multi_similarity",
    "NPairs": "losses.n_pairs",
    "OneCycle": "training.one_cycle",
    "OutputLabels": "serving.client.output_labels",
    "PartialSelectiveLoss": "losses.labels.partial_selective_loss",
    "ProbabilisticTransfer": "losses.probabilistic_transfer",
    "Projector": "losses.projector",
    "ProxyAnchor": "losses.proxy_anchor",
    "RecallValidation": "training.recall_validation",
    "RelativeTeacher": "losses.relative_teacher",
    "RelaxedContrastive": "losses.relaxed_contrastive",
    "ResumableCallbacks": "training.resumable_callbacks",
    "RkdAngle": "losses.rkd_angle",
    "RkdDistance": "losses.rkd_distance",
    "ScoreScale": "models.score_scale",
    "SelfDistillation": "losses.self_distillation",
    "SemanticDiversityLoss": "losses.labels.semantic_diversity_loss",
    "SemiHardTriplet": "losses.semi_hard_triplet",
    "ServingError": "serving.client.errors",
    "SimilarityPreserving": "losses.similarity_preserving",
    "Supervised": "methods.supervised",
    "TaskLoss": "losses.task_loss",
    "TeacherCache": "teachers.cache",
    "TeacherHead": "losses.teacher_head",
    "TeacherLoss": "losses.teacher_loss",
    "TeacherReferences": "losses.teacher_references",
    "Tls": "serving.client.channel",
    "VectorIndex": "retrieval.vector_index",
    "VectorTable": "teachers.vector_table",
    "ViewChanges": "data.view_changes",
    "accuracy_metrics": "evaluation.accuracy_metrics",
    "add_score": "models.scorer",
    "add_to_index": "retrieval.index_changes",
    "all_pair_metrics": "evaluation.verification_metrics",
    "best_covering": "selection.coverage",
    "best_label_thresholds": "evaluation.label_decisions",
    "build_album_classifier": "models.album_classifier",
    "build_album_model": "models.album_model",
    "build_classifier": "models.classifier",
    "build_counter": "models.counter",
    "build_embedder": "models.embedder",
    "build_index": "retrieval.index_changes",
    "build_scorer": "models.scorer",
    "build_searcher": "retrieval.backends",
    "build_word_classifier": "models.word_space",
    "build_word_space": "models.word_space",
    "class_batches": "data.class_batches",
    "delete_from_index": "retrieval.index_changes",
    "draw_precision_recall": "evaluation.precision_recall_picture",
    "drop_annotations": "data.partial_annotations",
    "embed_batches": "embedding.batches",
    "embedder_of": "models.embedding_output",
    "evaluation_batches": "data.pipeline",
    "export_embedder": "serving.export.bundle",
    "export_model": "serving.export.bundle",
    "find_labels": "models.label_names",
    "find_score_scale": "models.score_scale",
    "freeze_batch_norm": "models.frozen_batch_norm",
    "image_batches": "data.image_batches",
    "k_centre": "selection.k_centre",
    "keep_annotations_per_class": "data.partial_annotations",
    "load_class_head": "models.class_head",
    "load_class_images": "data.class_images",
    "load_dataset": "data.dataset",
    "load_teacher": "teachers.loading",
    "load_word_vectors": "data.word_vectors",
    "mean_probabilities": "models.album_means",
    "mean_vectors": "models.album_means",
    "mirror_averaged": "models.mirror_average",
    "mix_heads": "models.mixed_heads",
    "multilabel_metrics": "evaluation.multilabel_metrics",
    "multipliers_by_variable": "training.layerwise_optimizers",
    "open_index": "retrieval.vector_index",
    "ranking_consistency": "selection.ranking_consistency",
    "read_class_prior": "data.class_prior_file",
    "read_albums": "data.album_targets",
    "read_label_targets": "data.label_targets",
    "read_labels": "serving.client.output_labels",
    "rebuild_index": "retrieval.index_changes",
    "retrieval_metrics": "evaluation.retrieval_metrics",
    "split_by_image": "data.image_split",
    "split_head": "models.class_head",
    "stratified_split": "data.stratified_split",
    "training_batches": "data.pipeline",
    "uncertainty": "selection.uncertainty",
    "unfold_batch_norm": "models.unfolded_batch_norm",
    "verification_metrics": "evaluation.verification_metrics",
    "with_embedding": "models.embedding_output",
    "with_open_size": "models.open_size",
    "word_scores": "models.word_space",
    "write_class_prior": "data.class_prior_file",
}

__all__ = sorted(_HOME_OF)

# Taken for one version.
_FORMER_NAMES = {
    "RatedAdam": "LayerwiseAdam",
    "RatedSGD": "LayerwiseSGD",
    "by_variable": "multipliers_by_variable",
}


if not TYPE_CHECKING:  # a checker would believe that every name exists

    def __getattr__(name: str) -> object:
        if name in _FORMER_NAMES:
            import warnings

            name = _FORMER_NAMES[former := name]
            warnings.warn(f"{former} is called {name} now.", FutureWarning, stacklevel=2)
        if name not in _HOME_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{__name__}.{_HOME_OF[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME_OF])
