"""Stage of a run: one training in a folder of its own."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from rich.console import Console

from keras_distill.distribution.replicas import Replicas
from keras_distill.errors import InputError
from keras_distill.runs.checkpoints import Checkpoint, provenance_name
from keras_distill.runs.directory import RunDirectory


@dataclass(frozen=True)
class Validation:
    """Validation of a product during training.

    Attributes:
        metric: Name of the value in the logs of an epoch.
        callback: Adds the value to the logs.
        direction: `"max"` if a higher value is better, else `"min"`.
        figures: From the best value to its entries in `summary.json`.
    """

    metric: str
    callback: keras.callbacks.Callback
    direction: str = "max"
    figures: Callable[[float], Mapping[str, Any]] = lambda value: {"value": value}


@dataclass(frozen=True)
class Training:
    """Training of one stage: the model, the batches and the callbacks.

    Attributes:
        model: Compiled model, whose training step is the method.
        product: The model that is validated, saved and exported, or an object with a method `save`.
        batches: From the first step to make to the batches from there on, which are a function of
            (seed, step) alone.
        epochs: Epochs; 0 saves the product as it stands.
        steps_per_epoch: Steps in an epoch.
        batch_size: Images in a step, of all replicas.
        validation: Validation of the product; the best epoch is kept.
        callbacks: Callbacks of the method, which may have a state; see `ResumableCallbacks`.
        provenance: Values that must be the same when the training is resumed, by stable keys such
            as `train_images` and `teacher`.
        monitor: One of the callbacks, whose `note` is printed with each epoch, and whose values,
            `names`, are not.
        summary: Values for `summary.json` that are known before the training.
        figures: From the record of the last epoch, and the best value of the validation or `None`,
            to further values for `summary.json`.
        example_images: From a number to as many images of the first batch by title, for people.
        on_begin: Called once the folder is begun or resumed, before the first step, in the process
            that writes.
        on_end: Called with the file of the product at the end, in the process that writes.
    """

    model: keras.Model
    product: Any
    batches: Callable[[int], tf.data.Dataset]
    epochs: int
    steps_per_epoch: int
    batch_size: int
    validation: Validation | None = None
    callbacks: Sequence[keras.callbacks.Callback] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    monitor: Any = None
    summary: Mapping[str, Any] = field(default_factory=dict)
    figures: Callable[[Mapping[str, Any], float | None], Mapping[str, Any]] = lambda *shown: {}
    example_images: Callable[[int], Mapping[str, Any]] | None = None
    on_begin: Callable[[], None] = lambda: None
    on_end: Callable[[Path], None] = lambda product: None


@contextlib.contextmanager
def advising_overwrite() -> Iterator[None]:
    """Within `with`, adds to an `InputError` that the setting `overwrite` replaces the run.

    Raises:
        InputError: The error with the advice.
    """
    try:
        yield
    except InputError as error:
        raise InputError(f"{error} `overwrite` replaces this run.") from error


@dataclass(frozen=True)
class StageContext:
    """Context in which a stage is built.

    Attributes:
        run: Folder of the stage.
        replicas: The replicas, in whose scope it is built.
        console: Console to print to; quiet in all processes but the first.
        checkpoint: The checkpoint to resume from, if there is one.
        products: Files of the products of earlier stages, by the names of the stages.
    """

    run: RunDirectory
    replicas: Replicas
    console: Console
    checkpoint: Checkpoint | None = None
    products: Mapping[str, Path] = field(default_factory=dict)

    @property
    def first_step(self) -> int:
        """Steps that were made before."""
        return self.checkpoint.step if self.checkpoint else 0

    def say(self, text: str) -> None:
        """Prints a line."""
        self.console.print(text, highlight=False, soft_wrap=True)

    def check_agreement(self, provenance: Mapping[str, Any]) -> None:
        """Refuses images or models that other processes of the same training do not have.

        Args:
            provenance: As of `Training`, without what may differ between machines.

        Raises:
            InputError: If something differs.
        """
        self.replicas.check_agreement(
            {provenance_name(key): value for key, value in provenance.items()}
        )

    def check_provenance(self, provenance: Mapping[str, Any]) -> None:
        """Refuses to resume with other images or models than the checkpoint was made with.

        Args:
            provenance: As of `Training`; may be called early, before something slow.

        Raises:
            InputError: If something differs.
        """
        if self.checkpoint is not None:
            with advising_overwrite():
                self.checkpoint.check_provenance(provenance)


@dataclass(frozen=True)
class Stage:
    """One training of a recipe.

    Attributes:
        name: Its folder, if the recipe has several stages.
        build: Builds the training; may load what earlier stages produced.
    """

    name: str
    build: Callable[[StageContext], Training]
