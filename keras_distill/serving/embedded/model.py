"""Served model and its versions."""

import gc
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from keras_distill.serving.embedded.model_config import ModelConfig
from keras_distill.serving.embedded.refusal import Refusal, invalid
from keras_distill.serving.embedded.servable import Servable

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class VersionState:
    """State of a version.

    Attributes:
        state: `LOADING`, `AVAILABLE`, `UNLOADING` or `END`.
        code: Reason why it ended: number of a gRPC status, 0 if nothing went wrong.
        message: The reason in words.
    """

    state: str
    code: int = 0
    message: str = ""


class Model:
    """One model. Only one thread at a time may call `refresh`; all else is thread-safe.

    Args:
        name: Its name.
        load: Loads a version from its folder; raises `Refusal`.
    """

    def __init__(self, name: str, load: Callable[[Path, str, int], Servable]):
        self.name = name
        self.states: dict[int, VersionState] = {}
        self._load = load
        self._labels: dict[str, int] = {}
        self._loaded: dict[int, Servable] = {}
        self._failed: set[int] = set()

    def refresh(self, config: ModelConfig | None) -> None:
        """Loads new versions, and then unloads versions that are no longer wanted.

        While none of the wanted versions can be loaded, the loaded ones stay. A version that failed
        is not tried again, unless its folder disappears and appears again.

        Args:
            config: The wanted versions; `None` unloads everything.
        """
        folders = config.folders() if config else {}
        self._failed &= folders.keys()
        wanted = config.chosen(folders) if config else set()
        for version in sorted(wanted - self._loaded.keys() - self._failed, reverse=True):
            self._try(version, folders[version])
        if not wanted or wanted & self._loaded.keys():
            for version in sorted(self._loaded.keys() - wanted):
                self._unload(version)
        self._move_labels(config.labels if config else {})

    def find(self, spec: Any) -> Servable:
        """Returns the version that a `ModelSpec` names; the newest by default.

        Raises:
            Refusal: If it is not loaded, or the label is unknown.
        """
        loaded = self._loaded
        choice = spec.WhichOneof("version_choice")
        if choice is None:
            if not loaded:
                raise not_found(f"Latest({self.name})")
            return loaded[max(loaded)]
        if choice == "version_label" and spec.version_label not in self._labels:
            raise invalid(f"Unrecognized servable version label: {spec.version_label}")
        labelled = choice == "version_label"
        version = self._labels[spec.version_label] if labelled else spec.version.value
        if version not in loaded:
            raise not_found(f"Specific({self.name}, {version})")
        return loaded[version]

    @property
    def available(self) -> list[int]:
        """The versions that are loaded, in ascending order."""
        return sorted(self._loaded)

    def _try(self, version: int, folder: Path) -> None:
        self._set(version, VersionState("LOADING"))
        try:
            servable = self._load(folder, self.name, version)
        except Refusal as refusal:
            self._failed.add(version)
            self._set(version, VersionState("END", refusal.code.value[0], refusal.message))
            _log.error("%s version %d cannot be loaded: %s", self.name, version, refusal.message)
        else:
            self._loaded = {**self._loaded, version: servable}
            self._set(version, VersionState("AVAILABLE"))
            _log.info("%s version %d is available", self.name, version)

    def _unload(self, version: int) -> None:
        """Unloads a version; running requests keep it until they are done."""
        self._set(version, VersionState("UNLOADING"))
        self._loaded = {key: value for key, value in self._loaded.items() if key != version}
        gc.collect()  # a loaded SavedModel refers to itself
        self._set(version, VersionState("END"))
        _log.info("%s version %d is unloaded", self.name, version)

    def _move_labels(self, labels: dict[str, int]) -> None:
        """Applies new labels; a label in use moves only to a version that is available."""
        moved = {}
        for label, version in labels.items():
            before = self._labels.get(label, version)
            moved[label] = version if version in self._loaded else before
            if moved[label] != version:
                _log.error(
                    "%s: label %r stays at version %d because version %d is not available",
                    *(self.name, label, before, version),
                )
        self._labels = moved

    def _set(self, version: int, state: VersionState) -> None:
        self.states = {**self.states, version: state}


def not_found(servable: str) -> Refusal:
    """Returns the refusal for a model or version that is not there."""
    return Refusal(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {servable}")
