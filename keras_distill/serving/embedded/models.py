"""All models of a server."""

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from keras_distill.errors import InputError
from keras_distill.serving.embedded.model import Model, VersionState, not_found
from keras_distill.serving.embedded.model_config import ModelConfig
from keras_distill.serving.embedded.refusal import invalid
from keras_distill.serving.embedded.servable import Servable

_log = logging.getLogger(__name__)


class Models:
    """The models that are served, brought up to date whenever `refresh` is called.

    Args:
        wanted: Returns the models to serve; called on each refresh.
        load: Loads a version from its folder; raises `Refusal`.
    """

    def __init__(
        self,
        wanted: Callable[[], list[ModelConfig]],
        load: Callable[[Path, str, int], Servable],
    ):
        self._wanted = wanted
        self._load = load
        self._models: dict[str, Model] = {}
        self._refreshing = threading.Lock()
        self._closed = threading.Event()

    def refresh(self, wanted: Callable[[], list[ModelConfig]] | None = None) -> None:
        """Loads and unloads versions as they appear and disappear on disk or in the configuration.

        Args:
            wanted: Returns the models to serve from now on.

        Raises:
            InputError: If the configuration cannot be used; nothing has changed then.
        """
        with self._refreshing:
            configs = {config.name: config for config in (wanted or self._wanted)()}
            if wanted is not None:
                self._wanted = wanted
                _log.info("a reload request has set the models; they stay until the next one")
            for name in configs.keys() - self._models.keys():
                self._models = {**self._models, name: Model(name, self._load)}
            # Removed models come last: nothing is unloaded before new versions are there.
            for name in sorted(self._models, key=lambda name: (name not in configs, name)):
                self._models[name].refresh(configs.get(name))

    def poll(self, seconds: float) -> None:
        """Refreshes repeatedly until `close`.

        Args:
            seconds: Pause between two refreshes.
        """
        while not self._closed.wait(seconds):
            try:
                self.refresh()
            except (InputError, OSError) as error:
                _log.error("nothing was changed: %s", error)

    def close(self) -> None:
        """Ends `poll`."""
        self._closed.set()

    def find(self, spec: Any) -> Servable:
        """Returns the version of a model that a `ModelSpec` names.

        Raises:
            Refusal: If the spec names none, or one that is not loaded.
        """
        if not spec.name:
            raise invalid("ModelSpec has no name specified.")
        model = self._models.get(spec.name)
        if model is not None:
            return model.find(spec)
        choice = spec.WhichOneof("version_choice")
        if choice == "version_label":
            raise invalid(f"Unrecognized servable version label: {spec.version_label}")
        version = f"Specific({spec.name}, {spec.version.value})"
        raise not_found(version if choice else f"Latest({spec.name})")

    def states(self, name: str) -> dict[int, VersionState]:
        """Returns the states of a model's versions; none if there is no such model."""
        return self._models[name].states if name in self._models else {}

    def available(self) -> dict[str, list[int]]:
        """Returns the available versions, by model."""
        return {name: model.available for name, model in sorted(self._models.items())}

    def known(self, name: str) -> str:
        """Returns a name if there is such a model, else an empty one: a label for metrics."""
        return name if name in self._models else ""
