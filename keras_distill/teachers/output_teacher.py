"""Teacher of named outputs: a frozen map from raw images to what a product returns."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_distill.errors import InputError
from keras_distill.models.layer_calls import replace_calls
from keras_distill.models.product import by_name
from keras_distill.teachers.teacher import Teacher


class OutputTeacher:
    """Anything that yields a teacher's outputs by name, frozen and in inference mode.

    It is a plain object on purpose, as `Teacher` is: a `keras.Model` that holds it does not track,
    train, save or count the teacher's weights.

    Args:
        function: Maps raw images to a dict of outputs by name, or to a single tensor, which counts
            as whatever output is wanted.
        owner: An object that must stay alive as long as `function` does.

    Example:
        >>> teacher = OutputTeacher(lambda images: {"score": tf.reduce_mean(images, [1, 2, 3])})
        >>> teacher(tf.fill([1, 8, 8, 3], 2.0), ["score"])["score"].numpy().tolist()
        [2.0]
    """

    def __init__(self, function: Callable[[Any], Any], *, owner: Any = None):
        # Traced once, however often and from wherever it is called.
        self._function = tf.function(function, autograph=False, reduce_retracing=True)
        self.owner = owner

    @classmethod
    def of(cls, model: Any) -> "OutputTeacher":
        """Wraps a model.

        Args:
            model: A Keras model, a `Teacher`, or a callable on raw images; an `OutputTeacher` is
                returned as it is.

        Raises:
            InputError: If it is none of these.
        """
        if isinstance(model, OutputTeacher):
            return model
        if isinstance(model, keras.Model):
            replace_calls(model)
            return cls(lambda images: model(images, training=False), owner=model)
        if isinstance(model, Teacher):
            if model.needs_ids:
                raise InputError(
                    "`model` is a table of vectors, which sees no images; put its rows into the "
                    "batches, as 'teacher_embedding'."
                )
            return cls(model, owner=model)
        if not callable(model):
            raise InputError(
                f"`model={model!r}` is neither a Keras model nor callable on a batch of images."
            )
        return cls(model)

    def width_of(self, output: str) -> int | None:
        """Returns the width of an output, `None` if it is not known before it is run."""
        if isinstance(self.owner, Teacher):
            return self.owner.embedding_dim
        if not isinstance(self.owner, keras.Model):
            return None
        # A Sequential model that nobody has called has no `output`.
        sequential = isinstance(self.owner, keras.Sequential)
        named = by_name(self.owner.outputs if sequential else self.owner.output) or {}
        tensor = named.get(output, next(iter(named.values())) if len(named) == 1 else None)
        return None if tensor is None else tensor.shape[-1]

    def __call__(self, images: Any, outputs: Sequence[str]) -> dict[str, tf.Tensor]:
        """Evaluates a batch of raw images.

        Args:
            images: The images.
            outputs: Names of the outputs to return.

        Returns:
            float32 tensors by name, without gradient.

        Raises:
            InputError: If the teacher returns several outputs, and none of a name.
        """
        answer: Any = self._function(images)
        if isinstance(answer, Mapping):
            if missing := [name for name in outputs if name not in answer]:
                raise InputError(
                    f"`teacher` returns {', '.join(answer)}, and no {', '.join(missing)}; give a "
                    "model with an output of this name."
                )
        else:
            answer = dict.fromkeys(outputs, answer)
        return {name: tf.stop_gradient(tf.cast(answer[name], tf.float32)) for name in outputs}
