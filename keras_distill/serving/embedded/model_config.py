"""Configuration of served models: folders, versions and labels."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from keras_distill.errors import InputError


@dataclass(frozen=True)
class ModelConfig:
    """Configuration of one model.

    Attributes:
        name: Its name.
        base_path: Folder of its versions.
        newest: Number of the newest versions to serve; `None` for all versions.
        versions: Instead of `newest`, the version numbers to serve.
        labels: Version by label.
    """

    name: str
    base_path: Path
    newest: int | None = 1
    versions: frozenset[int] = frozenset()
    labels: dict[str, int] = field(default_factory=dict)

    def folders(self) -> dict[int, Path]:
        """Returns the folders of all complete versions, which are not hidden, by number."""
        if not self.base_path.is_dir():
            return {}
        found = (path for path in self.base_path.iterdir() if _is_number(path.name))
        return {int(path.name): path for path in sorted(found) if path.is_dir()}

    def chosen(self, numbers: Iterable[int]) -> set[int]:
        """Returns the versions to serve among the given ones."""
        if self.versions:
            return set(numbers) & self.versions
        return set(sorted(numbers, reverse=True)[: self.newest])


def scan_models(models: Path) -> list[ModelConfig]:
    """Finds every model of a folder: each folder in it that has a version.

    Args:
        models: The folder, as `python -m keras_distill.export --out` fills it.

    Returns:
        One entry for each model, with its newest version.
    """
    configs = (
        ModelConfig(path.name, path)
        for path in sorted(models.iterdir())
        if path.is_dir() and not path.name.startswith(".")
    )
    return [config for config in configs if config.folders()]


def read_config(file: Path, models: Path | None) -> list[ModelConfig]:
    """Reads a `ModelServerConfig` in text format, such as serving/config/models.config.

    Args:
        file: The file.
        models: See `configured_models`.

    Returns:
        One entry for each model.

    Raises:
        InputError: If the file or an entry cannot be used.
    """
    try:
        text = file.read_text(encoding="utf-8")
        config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
        return configured_models(config, models)
    except (OSError, UnicodeDecodeError, text_format.ParseError, InputError) as error:
        raise InputError(f"`file={file}` cannot be used: {error}") from error


def configured_models(config: Any, models: Path | None) -> list[ModelConfig]:
    """Returns the models of a `ModelServerConfig`.

    Args:
        config: The message.
        models: Folder of all models, in which the last part of each `base_path` is looked up, so
            that a configuration for the container, or a stranger's, opens no other folder; `None`
            uses the paths unchanged.

    Returns:
        One entry for each model.

    Raises:
        InputError: If an entry cannot be used.
    """
    entries = config.model_config_list.config
    if not entries:
        raise InputError("there is no model_config_list with a config in it.")
    configs = [_entry(entry, models) for entry in entries]
    names = [config.name for config in configs]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"name: {name!r} occurs twice.")
    return configs


def _entry(entry: Any, models: Path | None) -> ModelConfig:
    if not entry.name:
        raise InputError("a config has no name.")
    if entry.model_platform not in ("", "tensorflow"):
        raise InputError(f"model_platform: {entry.model_platform!r} is not 'tensorflow'.")
    base = Path(entry.base_path)
    if models is not None:
        if entry.base_path and base.name in ("", ".."):
            raise InputError(f"base_path: {entry.base_path!r} of {entry.name!r} names no folder.")
        base = models / base.name
    if not entry.base_path or not base.is_absolute() or not base.is_dir():
        raise InputError(f"base_path: {str(base)!r} of {entry.name!r} is no absolute folder.")
    policy = entry.model_version_policy
    kind = policy.WhichOneof("policy_choice")
    if kind == "specific" and not policy.specific.versions:
        raise InputError(f"specific of {entry.name!r} has no versions.")
    return ModelConfig(
        entry.name,
        base,
        newest=None if kind == "all" else max(policy.latest.num_versions, 1),
        versions=frozenset(policy.specific.versions),
        labels=dict(entry.version_labels),
    )


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdecimal() and int(name) > 0
