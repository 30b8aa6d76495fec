"""Supervised: a Keras model that trains a product by named losses on its outputs."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import keras
from keras import ops
from keras.backend import standardize_dtype

from keras_distill.distribution.global_batch import gather_replicas, require_rows
from keras_distill.errors import InputError, renamed_arguments
from keras_distill.losses.keras_distillation import as_teacher_loss
from keras_distill.losses.registry import load_losses
from keras_distill.losses.task_loss import TaskLoss
from keras_distill.losses.teacher_loss import TeacherLoss
from keras_distill.methods.method import LossTerm, Method, images_of, unpack_batch
from keras_distill.methods.output_loss import output_loss
from keras_distill.methods.supervised_arguments import (
    check_losses,
    check_product,
    check_streams,
    check_targets,
    term_weights,
)
from keras_distill.models.frozen_batch_norm import batch_norms, freeze_batch_norm, keeps_statistics
from keras_distill.models.layer_calls import replace_calls
from keras_distill.models.product import by_name
from keras_distill.teachers.output_teacher import OutputTeacher
from keras_distill.teachers.teacher import Teacher

load_losses()  # so that `load_model` finds those of a saved Supervised

_TeacherLike: TypeAlias = OutputTeacher | Teacher | keras.Model | Callable[[Any], Any]


@keras.saving.register_keras_serializable("keras_distill")
class Supervised(Method):
    """Trains a product by a loss on each of its outputs, and maybe by a teacher of them.

    `loss = sum_o weight_o * loss_o(y_o, output_o) + sum_k weight_k * teacher_loss_k`, each reported
    by its name: a loss by the name of its output, a teacher loss by that and its own,
    `logits_label_distillation`. Outputs without a loss are returned, but not trained; Keras warns
    of variables that nothing else uses. The losses of `keras_distill` and of Keras work alike, on
    the rows of all replicas together.

    It is a `keras.Model` in every respect: compile, metrics, callbacks, `sample_weight`, mixed
    precision, `tf.distribute`. `predict()` returns the product's outputs, `export()` exports the
    product. `save()` keeps the product, the losses and the compilation, but not the teacher.

    Batches are `(x, y)` or `(x, y, sample_weight)`. `x` is a tensor of images or a dict with
    `image`, or with all inputs of a product that has several; `y` and `sample_weight` are dicts by
    output, or a single tensor. Where `x` has `teacher_logits`, and so on for other outputs, no
    teacher is run; where it has `teacher_image`, the teacher sees these. Losses that remember each
    image, such as `ContrastiveTeacher`, need `row`, its number.

    Args:
        product: Functional model that returns a dict of outputs by name, such as one of
            `build_classifier`; or a single vector, which is its `embedding`.
        losses: The loss of each trained output, by name: any `keras.losses.Loss` on
            `(targets, outputs)`, or a `TaskLoss` on labels and embeddings.
        loss_weights: Weight of each loss, by the name under which it is reported; 1 by default.
        teacher: Keras model, `Teacher` or callable from raw images to outputs by name, or to a
            single output, used in inference mode and never changed.
        teacher_losses: For each output that a teacher teaches, losses on (teacher's, product's)
            output, such as `[LabelDistillation()]`, also from `keras.distillation`.
        streams: Further losses on an output, which have targets and a name of their own, such as
            `{"ranked": "score"}` for a loss `ranked` in `losses`: rows that have a score and rows
            whose order is known share a batch, and each loss leaves out those of the other.
        name: Name of the model.
        **kwargs: As of `keras.Model`.

    Raises:
        InputError: If an argument is of another kind, or names or weights do not match.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> from keras_distill import Supervised, build_classifier
        >>> classifier = build_classifier(
        ...     ["cat", "dog"], "mobilenet", alpha=0.25, image_size=32, backbone_weights="none"
        ... )
        >>> bce = keras.losses.BinaryCrossentropy(from_logits=True)
        >>> model = Supervised(classifier, {"logits": bce})
        >>> model.compile("adam")
        >>> images = np.random.randint(0, 256, (4, 32, 32, 3), dtype="uint8")
        >>> targets = np.array([[1, 0], [1, 1], [0, 0], [0, 1]])
        >>> sorted(model.fit(images, targets, verbose=0).history)
        ['logits', 'loss']
    """

    loss_advice = (
        "give Supervised a loss for each output, as losses={'logits': "
        "keras.losses.BinaryCrossentropy(from_logits=True)}"
    )
    loss_weights_advice = "give Supervised loss_weights={'logits': ...}"

    def __init__(
        self,
        product: keras.Model,
        losses: Mapping[str, keras.losses.Loss],
        *,
        loss_weights: Mapping[str, float] | None = None,
        teacher: _TeacherLike | None = None,
        teacher_losses: Mapping[str, Sequence[Any]] | None = None,
        streams: Mapping[str, str] | None = None,
        name: str = "supervised",
        **kwargs: Any,
    ):
        super().__init__(name=name, **kwargs)
        outputs = check_product(product)
        self.streams = check_streams(streams, losses, outputs)
        outputs |= {stream: outputs[output] for stream, output in self.streams.items()}
        check_losses(losses, teacher_losses, teacher, outputs)
        replace_calls(product)
        self.product = product
        self.output_losses = dict(losses)
        self.teacher_losses = {
            output: [as_teacher_loss(loss) for loss in own]
            for output, own in (teacher_losses or {}).items()
        }
        self._teacher_terms = [
            (f"{output}_{loss.name}", output, loss)
            for output, own in self.teacher_losses.items()
            for loss in own
        ]
        self.teacher = teacher
        names = [*self.output_losses, *(name for name, _, _ in self._teacher_terms)]
        self.loss_weights_by_name = term_weights(names, loss_weights)
        self.track_losses(names)
        self.loss_layers = self._build_losses(outputs)  # tracked: trained and saved, not exported
        self.built = True

    def __setattr__(self, name: str, value: Any) -> None:
        """Wraps a new teacher before Keras sees it: a model would be tracked, trained and saved."""
        if name == "teacher":
            with renamed_arguments(model="teacher"):
                value = None if value is None else OutputTeacher.of(value)
            self.train_function = self.test_function = None  # traced with the former teacher
        super().__setattr__(name, value)

    def get_product(self) -> keras.Model:
        """Returns the product."""
        return self.product

    def call(self, x: Any, training: bool = False) -> Any:
        """Returns the product's outputs for `x`, its only input or a dict with its inputs."""
        return self.product(self._inputs_of(x), training=training)

    def prepare(self, data: Any, training: bool) -> tuple[dict[str, Any], Any, Any]:
        """Checks the targets of a batch and evaluates the teacher."""
        x, y, sample_weight = unpack_batch(data)
        targets = self._by_output(y)
        check_targets(targets, self.output_losses)
        first = next((t.name for t in self.product.inputs if t.name in x), "image")
        if first not in x:
            inputs = [tensor.name for tensor in self.product.inputs]
            raise InputError(
                f"the batches are dicts with {', '.join(sorted(x))}, but the product takes "
                f"{', '.join(inputs)}."
            )
        if training:
            x[first] = require_rows(x[first])
        x |= self._taught(x)
        if targets and isinstance(self.product.output, dict):
            y = targets  # metrics of Keras need the structure of the outputs
        return x, y, sample_weight

    def loss_terms(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any, training: bool
    ) -> list[LossTerm]:
        """Computes the loss of each output, and the teacher losses.

        Args:
            x: Dict with `teacher_logits` and so on, if there are teacher losses.
            y: Targets by output.
            y_pred: The product's outputs.
            sample_weight: Optional weights `(batch,)`, maybe by output.
            training: Whether the product trains.

        Returns:
            One term for each loss.
        """
        terms, seen = [], {}
        for name, loss in self.output_losses.items():
            targets, outputs, weights = self.operands(name, x, y, y_pred, sample_weight)
            seen[name] = targets, outputs
            value = output_loss(loss, targets, outputs, weights)
            if isinstance(loss, TaskLoss) and training:
                loss.update(targets, outputs)
            terms.append(self._term(name, value, outputs))
        if training:
            self.observe(*({name: pair[i] for name, pair in seen.items()} for i in (0, 1)))
        for name, output, loss in self._teacher_terms:
            taught = x[f"teacher_{output}"]
            outputs = ops.cast((by_name(y_pred) or {})[output], "float32")
            rows = _numbers(x, loss)
            taught, outputs, weights, rows = gather_replicas(
                (ops.cast(taught, "float32"), outputs, _of(sample_weight, output), rows)
            )
            own: dict[str, Any] = {} if rows is None else {"rows": rows}
            value = loss(taught, outputs, weights, **own)
            if training:
                also = own and {"student_outputs": outputs}
                loss.update(taught, weights, **own, **also)
            terms.append(self._term(name, value, outputs))
        return terms

    def operands(
        self, name: str, x: Any, y: Any, y_pred: Any, sample_weight: Any
    ) -> tuple[Any, Any, Any]:
        """Returns what a loss compares, of the rows of all replicas.

        A loss of a stream takes all rows too, and leaves out those without a target of its own. A
        method that has the rows of streams apart overrides this.

        Args:
            name: Name of the loss, a key of `losses`.
            x: What `prepare` returned.
            y: Targets, as of `loss_terms`.
            y_pred: Outputs, as of `loss_terms`.
            sample_weight: Weights, as of `loss_terms`.

        Returns:
            Targets, float32 outputs, and weights or `None`.
        """
        output = self.streams.get(name, name)
        outputs = ops.cast((by_name(y_pred) or {})[output], "float32")
        targets = _addable(self._by_output(y)[name])
        return gather_replicas((targets, outputs, _of(sample_weight, name)))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor, without the teacher."""
        serialize = keras.saving.serialize_keras_object
        return {
            "name": self.name,
            "dtype": serialize(self.dtype_policy),
            "product": serialize(self.product),
            "losses": {name: serialize(loss) for name, loss in self.output_losses.items()},
            "loss_weights": dict(self.loss_weights_by_name),
            "streams": dict(self.streams),
            "teacher_losses": {
                output: [serialize(loss) for loss in own]
                for output, own in self.teacher_losses.items()
            },
            # A rebuilt product has forgotten it.
            "frozen_batch_norms": [keeps_statistics(layer) for layer in batch_norms(self.product)],
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "Supervised":
        """Rebuilds the model, without its teacher, from `get_config()`."""
        config = dict(config)

        def restore(item: Any) -> Any:
            return keras.saving.deserialize_keras_object(item, custom_objects)

        config["product"] = restore(config["product"])
        config["losses"] = {name: restore(loss) for name, loss in config["losses"].items()}
        config["teacher_losses"] = {
            output: [restore(loss) for loss in own]
            for output, own in config["teacher_losses"].items()
        }
        frozen = config.pop("frozen_batch_norms", [])
        replace_calls(config["product"])  # a frozen layer would not be fused any more
        for layer in itertools.compress(batch_norms(config["product"]), frozen):
            freeze_batch_norm(layer)
        return cls(**config)

    def _build_losses(self, outputs: Mapping[str, tuple[Any, ...]]) -> list[keras.Layer]:
        """Builds the losses that have variables; returns their layers."""
        made: list[keras.losses.Loss] = []
        teacher: Any = self.teacher  # wrapped by __setattr__
        for output, loss in self.output_losses.items():
            if isinstance(loss, TaskLoss):
                loss.build(outputs[output][-1])
                made.append(loss)
        for _, output, loss in self._teacher_terms:
            if isinstance(loss, TeacherLoss):
                width = outputs[output][-1]
                taught = None if teacher is None else teacher.width_of(output)
                loss.build(width if loss.needs_equal_widths else taught, width)
                made.append(loss)
        return [loss.layer for loss in made if getattr(loss, "layer", None) is not None]

    def _inputs_of(self, x: Any) -> Any:
        if not isinstance(x, Mapping):
            return x
        if len(self.product.inputs) == 1:
            name = self.product.inputs[0].name
            return x[name] if name in x else images_of(x)
        return keras.tree.map_structure(lambda tensor: x[tensor.name], self.product.input)

    def _by_output(self, y: Any) -> dict[str, Any]:
        """Targets by output; a single tensor belongs to the only loss."""
        if isinstance(y, Mapping):
            return dict(y)
        return (
            {} if y is None or len(self.output_losses) != 1 else {next(iter(self.output_losses)): y}
        )

    def _taught(self, x: Mapping[str, Any]) -> dict[str, Any]:
        """The outputs of the teacher that the losses need and the batch lacks."""
        lacking = [output for output in self.teacher_losses if f"teacher_{output}" not in x]
        if not lacking:
            return {}
        teacher: Any = self.teacher  # wrapped by __setattr__
        if teacher is None:
            raise InputError(
                f"Supervised has teacher losses of {', '.join(lacking)} but no teacher, and the "
                f"batches hold no 'teacher_{lacking[0]}'. Give `teacher`, or set its attribute "
                "`teacher` (it is not kept by save())."
            )
        outputs = teacher(x.get("teacher_image", self._inputs_of(x)), lacking)
        return {f"teacher_{name}": output for name, output in outputs.items()}

    def _term(self, name: str, value: Any, outputs: Any) -> LossTerm:
        rows, weight = ops.shape(outputs)[0], self.loss_weights_by_name[name]
        return LossTerm(name, ops.cast(value, "float32"), rows, weight)


def _of(sample_weight: Any, output: str) -> Any:
    return sample_weight.get(output) if isinstance(sample_weight, Mapping) else sample_weight


def _numbers(x: Mapping[str, Any], loss: Any) -> Any:
    """The numbers of the rows' images, if a loss needs them."""
    if not getattr(loss, "needs_rows", False):
        return None
    if "row" not in x:
        raise InputError(
            f"the loss {loss.name} remembers each image; give batches with 'row', the number of "
            "each image among those that the loss was made for."
        )
    return x["row"]


def _addable(targets: Any) -> Any:
    """Small integers as int32, because replicas are put together by a sum."""
    targets = ops.convert_to_tensor(targets)
    small = ("bool", "int8", "uint8", "int16", "uint16")
    return ops.cast(targets, "int32") if standardize_dtype(targets.dtype) in small else targets
