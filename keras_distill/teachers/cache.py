"""Cache of a teacher's outputs, computed once for each view of each image."""

import importlib.metadata
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from keras_distill.data.image_set import ImageSet
from keras_distill.data.view_cache import ViewCache
from keras_distill.data.view_changes import ViewChanges
from keras_distill.errors import InputError
from keras_distill.losses.attention_maps import attention_energy
from keras_distill.teachers.onnx_runner import OnnxRunner
from keras_distill.teachers.runtimes import choose_runtimes
from keras_distill.teachers.teacher import Teacher

_EXPONENTS = "exponents"
_LEAST_EXPONENT = -120  # float32 has few smaller powers of two, which TensorFlow may take for 0
# Largest difference of ONNX Runtime from Keras, relative to the largest value of an output in a
# batch. float16 rounds a value by up to 4.9e-4 of itself.
_MOST_DIFFERENCE = 1e-4
_COMPARED = 32  # images
_UNCHANGED = ViewChanges()
# The conversions of each teacher that is alive, which the caches of plain and of mixed views share.
_RUNNERS: weakref.WeakKeyDictionary[Teacher, dict[Any, OnnxRunner]] = weakref.WeakKeyDictionary()


class TeacherCache(ViewCache):
    """Outputs of a frozen teacher for the views that `training_batches` shows, on disk.

    A cached output belongs to exactly the pixels of that view, see `ViewCache`. It is kept as
    float16 times a power of two of its own, so that outputs of any size have 11 bits.

    Args:
        teacher: The teacher; it must have a fingerprint.
        images: The images.
        folder: Folder of all caches; this one lies in a sub-folder.
        image_size: Height and width of the images that the teacher sees, in pixels; by default
            its own.
        views: Different views of an image; `None` for its centre alone, whatever the student sees:
            cheaper, but then the teacher sees other pixels than the student.
        least_area: Least share of an image's area in a crop; see `random_views`.
        seed: Seed of the views.
        changes: Changes of the views: the `augment` of `training_batches`, and its `mixup_alpha` in
            a cache for `mixed_teacher_embedding`.
        layers: Inner layers of a Keras teacher whose feature maps are kept too. In a dict, the
            height and width at which `attention_energy` is kept in place of a map, `None` for the
            map itself: attention needs no more, and it takes a hundredth of the disk.
        runtime: What computes the outputs of a Keras teacher. `onnx` converts it for ONNX Runtime,
            which answers 1.5 to 1.9 times as fast on a CPU; its first batch must agree with
            Keras within 1e-4 of the largest value. `keras` is Keras itself. `auto` takes `onnx` if
            its packages are installed and the cache is large enough to pay for the conversion,
            says so and goes on with Keras if that fails, and keeps to the runtime that has computed
            most of what is there: the two round differently and have folders of their own.

    Raises:
        InputError: If the teacher has no fingerprint or size, the runtime does not fit it or is not
            installed, or the folder cannot be written.

    Example:
        >>> cache = TeacherCache(teacher, birds.train, "caches", views=8)  # doctest: +SKIP
        >>> cache.fill()  # doctest: +SKIP
        >>> batches = training_batches(  # doctest: +SKIP
        ...     birds.train, views=8, teacher_embedding=cache.lookup, ...
        ... )
    """

    title = "teacher cache"

    def __init__(
        self,
        teacher: Teacher,
        images: ImageSet,
        folder: str | Path,
        *,
        image_size: int | None = None,
        views: int | None = 8,
        least_area: float = 0.08,
        seed: int = 0,
        changes: ViewChanges = _UNCHANGED,
        layers: Sequence[str] | Mapping[str, tuple[int, int] | None] = (),
        runtime: str = "auto",
    ):
        fingerprint = teacher.fingerprint
        if fingerprint is None:
            raise InputError(
                "`teacher` is a plain function, which cannot be told from another one; give a "
                "Keras model or a file, or Teacher(function, fingerprint='a name of its own')."
            )
        size = teacher.image_size or image_size
        if size is None:
            raise InputError("`teacher` takes images of any size; give `image_size`.")
        if image_size not in (None, size):
            raise InputError(f"`image_size={image_size}`: `teacher` takes {size} pixels.")
        self._runtimes = choose_runtimes(
            runtime,
            is_keras=isinstance(teacher.owner, keras.Model),
            pixels=len(images) * (views or 1) * size**2,
        )
        self._runner: OnnxRunner | None = None
        self.teacher = teacher
        self._fingerprint = fingerprint
        self.layers = tuple(layers)
        sizes = layers if isinstance(layers, Mapping) else {}
        self._sizes = {name: tuple(size) for name, size in sizes.items() if size is not None}
        shapes = teacher.tap(self.layers) if layers else {}
        maps = {
            _entry(name): (*self._sizes[name], 1) if name in self._sizes else shape[1:]
            for name, shape in shapes.items()
        }
        provenance: dict[str, Any] = {"teacher": fingerprint}
        if self._sizes:
            provenance["strength"] = sorted(self._sizes)  # a key of folders on disk
        dim = teacher.embedding_dim
        if dim is None:
            dim = int(teacher(tf.zeros([1, size, size, 3])).shape[1])
        super().__init__(
            images,
            folder,
            image_size=size,
            views=views,
            least_area=least_area,
            seed=seed,
            changes=changes,
            outputs={"embedding": (dim,), **maps, _EXPONENTS: (1 + len(maps),)},
            dtype=np.float16,
            provenance=[
                {**provenance, "versions": _versions(teacher, runtime)}
                for runtime in self._runtimes
            ],
        )

    @property
    def runtime(self) -> str:
        """What computes missing entries, `keras` or `onnx`."""
        return self._runtimes[self.way]

    def fill(
        self,
        views: int | None = None,
        *,
        batch_size: int = 64,
        on_rows: Callable[[int], object] = lambda rows: None,
    ) -> None:
        """Computes what is missing; see the base class."""
        try:
            super().fill(views, batch_size=batch_size, on_rows=on_rows)
        finally:
            if self._runner is not None:
                self._runner.release()

    def prepare(self, views: int | None = None) -> None:
        """Converts the teacher, and compares it with Keras on the first images that are missing.

        Args:
            views: Views that will be filled; all by default.

        Raises:
            InputError: If `runtime="onnx"` was given, and the teacher cannot be converted or
                answers otherwise.
        """
        missing = self.store.missing(self._range(views))
        if self.runtime != "onnx" or self._runner is not None or not missing:
            return
        pixels, ids = next(iter(self._batches(missing[0], _COMPARED)))
        expected = self._tensors(pixels, ids)
        try:
            runner = self._converted()
            fault = _difference(runner(pixels.numpy()), expected)
        except Exception as error:  # tf2onnx and ONNX Runtime have dozens, without a common base
            fault = f"could not be converted ({' '.join(str(error).split())[:200]})"
        if not fault:
            self._runner = runner
        elif "keras" not in self._runtimes:
            raise InputError(f"`runtime=onnx`: the teacher {fault}; give `runtime=keras`.")
        else:
            logging.warning("ONNX Runtime: the teacher %s; it is run by Keras instead.", fault)
            self.take(self._runtimes.index("keras"))

    def _converted(self) -> OnnxRunner:
        """The teacher in ONNX Runtime, converted once for all caches of the same outputs."""
        sizes = tuple(sorted(self._sizes.items()))
        key = (self._fingerprint, self.image_size, self.layers, sizes)
        runners = _RUNNERS.setdefault(self.teacher, {})
        if key not in runners:
            runners[key] = OnnxRunner(lambda images: self._tensors(images, None), self.image_size)
        return runners[key]

    def check_source(self) -> None:
        """Checks the teacher's fingerprint; see the base class."""
        if self.teacher.fingerprint != self._fingerprint:
            raise InputError(
                f"`teacher` was changed while the {self.title} was being filled, so that the new "
                "entries were deleted; start again once it stays as it is."
            )

    def compute(self, pixels: tf.Tensor, ids: tf.Tensor, paths: np.ndarray) -> dict[str, Any]:
        """Evaluates the teacher; see the base class."""
        answers: Mapping[str, Any]
        if self.runtime == "onnx" and self._runner is not None:
            answers = self._runner(pixels.numpy())
        else:
            answers = self._tensors(pixels, ids)
        arrays, exponents = {}, []
        for name, answer in answers.items():
            answer = np.asarray(answer, np.float32)
            finite = np.isfinite(answer).reshape(len(answer), -1).all(axis=-1)
            if not finite.all():
                raise InputError(
                    f"the output of `teacher` for {str(paths[np.argmin(finite)])!r} is not finite."
                )
            arrays[name], exponent = _rounded(answer)
            exponents.append(exponent)
        return {**arrays, _EXPONENTS: np.stack(exponents, axis=1)}

    def _tensors(self, pixels: Any, ids: Any) -> dict[str, Any]:
        """The teacher's answers by entry, by Keras."""
        if not self.layers:
            return {"embedding": self.teacher(pixels, ids)}
        embedding, maps = self.teacher.features(pixels)
        for name, size in self._sizes.items():
            maps[name] = attention_energy(maps[name], size)
        return {"embedding": embedding, **{_entry(name): maps[name] for name in self.layers}}

    def lookup(self, rows: tf.Tensor, views: tf.Tensor) -> tf.Tensor:
        """Returns the teacher's embeddings; to be used in a tf.data pipeline.

        Args:
            rows: Rows of `images`, int64 `(batch,)`.
            views: View of each, int64 `(batch,)`; ignored if there is only the centre.

        Returns:
            float32 tensor `(batch, dim)`.
        """
        return self._answers(["embedding"], rows, views)["embedding"]

    def lookup_features(self, rows: tf.Tensor, views: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the teacher's feature maps; arguments as of `lookup`.

        Returns:
            float32 tensors `(batch, h, w, channels)` by layer, with one channel for an energy.
        """
        answers = self._answers([_entry(name) for name in self.layers], rows, views)
        return {name: answers[_entry(name)] for name in self.layers}

    def _answers(
        self, names: Sequence[str], rows: tf.Tensor, views: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Entries in the teacher's own scale, float32."""
        if not names:
            return {}
        order = [name for name in self.store.outputs if name != _EXPONENTS]
        # The bits of a power of two; tf.pow is not exact.
        exponents = tf.cast(self.read(_EXPONENTS, rows, views), tf.int32)
        factors = tf.bitcast((exponents + 127) * 2**23, tf.float32)

        def answer(name: str) -> tf.Tensor:
            entries = tf.cast(self.read(name, rows, views), tf.float32)
            factor = factors[:, order.index(name)]
            return entries * tf.reshape(factor, [-1, *[1] * (len(entries.shape) - 1)])

        return {name: answer(name) for name in names}


def _versions(teacher: Teacher, runtime: str) -> dict[str, str]:
    """Versions of what computes a teacher's outputs in a runtime."""
    packages = ("onnxruntime", "tf2onnx") if runtime == "onnx" else ()
    return teacher.versions | {name: importlib.metadata.version(name) for name in packages}


def _difference(answers: Mapping[str, np.ndarray], expected: Mapping[str, Any]) -> str:
    """What is wrong with the answers of ONNX Runtime; empty if they agree with those of Keras."""
    for name, wanted in expected.items():
        wanted = np.asarray(wanted, np.float32)
        answer = answers[name]
        if answer.shape != wanted.shape:
            return f"answers {name} of shape {answer.shape}, not {wanted.shape} as in Keras"
        largest = max(float(np.abs(wanted).max()), 1e-30)
        difference = float(np.abs(answer - wanted).max()) / largest
        if not difference <= _MOST_DIFFERENCE:  # nor is it a number
            return (
                f"differs from Keras in {name} by {difference:.2g} of the largest value, more than "
                f"{_MOST_DIFFERENCE:g}"
            )
    return ""


def _rounded(answer: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Splits finite rows into float16 and the exponent of a power of two for each row.

    The largest number of a row becomes 2^14 to 2^15; below it float16 has 28 powers of two with 11
    bits each.
    """
    largest = np.abs(answer).reshape(len(answer), -1).max(axis=1)
    exponents = np.maximum(np.frexp(largest)[1] - 15, _LEAST_EXPONENT)
    each = exponents.reshape(-1, *[1] * (answer.ndim - 1))
    return np.ldexp(answer, -each).astype(np.float16), exponents


def _entry(layer: str) -> str:
    """Name of a layer's entries; a layer may have the name `embedding`."""
    return f"layer/{layer}"
