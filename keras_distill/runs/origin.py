"""Origin of a model: its run, data and results."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keras_distill.data.published_sets import PUBLISHED_SETS
from keras_distill.errors import InputError
from keras_distill.runs.directory import RunDirectory
from keras_distill.runs.settings import read_settings, run_of
from keras_distill.runs.verification_origin import (
    check_mirror,
    read_verification,
    verification_in,
)
from keras_distill.settings.data import DATASETS, parse_unlabelled
from keras_distill.settings.distill import DistillSettings
from keras_distill.settings.evaluation import PROTOCOLS
from keras_distill.settings.head_sharing import HeadSharingSettings
from keras_distill.settings.label_data import PUBLISHED as PUBLISHED_LABELS
from keras_distill.settings.label_data import (
    is_album_dataset,
    is_label_dataset,
    load_label_images,
)
from keras_distill.settings.split_data import PUBLISHED as PUBLISHED_CLASSES
from keras_distill.settings.split_data import load_class_splits

_LICENCES = {"glyphs": "drawn by keras_distill, Apache-2.0"}
_OF_TRAINING = (
    *("student", "backbone", "alpha", "teacher", "combination", "teacher_losses", "task_loss"),
    *("epochs", "seed"),
)
#: Settings of a backbone by name, in place of which a run may have a student of its own.
_OF_BACKBONE = ("backbone", "alpha")
_OF_RESULT = ("model", "data", "split", "protocol", "queries", "gallery", "classes")
# Protocols whose results a model card shows.
_IN_CARD = ("retrieval", "verification")


def model_origin(
    model: str, *, results: Sequence[str] = (), data_licence: str = "", mirror: bool = False
) -> dict[str, Any]:
    """Gathers the origin of a model, for `export_embedder`; nothing is guessed.

    Args:
        model: A `.keras` file or a run directory.
        results: Files that `evaluate --json` wrote. Those in the run directory that are about this
            model, and not older than it, are found automatically.
        data_licence: Licence of the data, if the user states one.
        mirror: Whether the model averages the vectors of mirror images, on which the similarities
            of a verification depend.

    Returns:
        `model`, `training`, `training_classes` (their names), `data`, `data_licence`, `recall` and
        `verification`, as far as they are known.

    Raises:
        InputError: If a result cannot be read, or is something else.
    """
    origin: dict[str, Any] = {"model": model, "recall": []}
    run = run_of(model)
    if run is not None:
        settings = _readable_settings(run)
        student: str = getattr(settings, "student", "")
        if settings is not None and settings.dataset:
            origin["data"] = settings.dataset
            origin["data_licence"] = _LICENCES.get(settings.dataset)
        chosen = {
            name: str(value)
            for name in _OF_TRAINING
            if settings is not None
            and name in settings.given
            and not (name in _OF_BACKBONE and student)
            and (value := getattr(settings, name)) != ""
        }
        if chosen:
            origin["training"] = chosen
        if classes := _training_classes(run):
            origin["training_classes"] = classes
        origin["recall"] += _validation(run) + _results_in(run)
        if verification := verification_in(run, mirror=mirror):
            origin["verification"] = verification
    if data_licence:
        origin["data_licence"] = data_licence
    known = {json.dumps(result, sort_keys=True) for result in origin["recall"]}
    for file in results:
        result = _read_result(Path(file))
        if verification := read_verification(Path(file)):
            check_mirror(verification, file, mirror=mirror)
            origin["verification"] = verification
            continue
        if result is None:
            raise InputError(_refusal(file))
        if json.dumps(result, sort_keys=True) not in known:
            origin["recall"].append(result)
    return origin


def trained_labels(model: str) -> list[str]:
    """Returns the names of the labels that a model was trained on, as far as its run tells.

    Args:
        model: A `.keras` file or a run directory.
    """
    run = run_of(model)
    try:
        return [] if run is None else [str(name) for name in run.read_summary()["labels"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def is_at_hand(dataset: str, data_dir: str) -> bool:
    """Tells whether a data set is on this machine, so that nothing is downloaded or drawn.

    Args:
        dataset: Its name, or `folder:PATH`.
        data_dir: Folder of the data sets.
    """
    if dataset not in (*DATASETS, *PUBLISHED_CLASSES):
        return True
    name = PUBLISHED_SETS[dataset].builder if dataset in PUBLISHED_SETS else dataset
    return any((Path(data_dir).expanduser() / "keras_distill").glob(f"{name}-*"))


def run_test_images(model: str) -> Any:
    """Returns the test images of the run's data set, an `ImageSet`, or `None`.

    Args:
        model: A `.keras` file or a run directory.
    """
    run = run_of(model)
    settings = _readable_settings(run) if run is not None else None
    if settings is not None and is_label_dataset(settings.dataset):
        return _label_test_images(settings)
    dataset = run_dataset(model)
    return None if dataset is None else dataset.test


def _label_test_images(settings: Any) -> Any:
    """The test images of a data set of files with several labels; `None` if there are none."""
    if settings.dataset in PUBLISHED_LABELS or is_album_dataset(settings.dataset):
        return None
    try:
        (images,), _ = load_label_images(settings, "test")
    except InputError:
        return None
    return None if images is None else images.unlabelled


def run_dataset(model: str) -> Any:
    """Finds the data set of the run that a model comes from, if it is on this machine.

    Args:
        model: A `.keras` file or a run directory.

    Returns:
        A `Dataset`; `None` if the run names none that can be read, or is of another recipe.
    """
    run = run_of(model)
    settings = _readable_settings(run) if run is not None else None
    # Those of other recipes are not split by class.
    if not isinstance(settings, DistillSettings) or not settings.dataset:
        return None
    data_dir = settings.data_dir
    if not is_at_hand(settings.dataset, data_dir):
        return None
    from keras_distill.data.dataset import load_dataset

    unlabelled, unlabelled_classes = parse_unlabelled(settings.unlabelled)
    if unlabelled and not is_at_hand(unlabelled, data_dir):
        unlabelled = ""
    try:
        return load_dataset(
            settings.dataset,
            data_dir=data_dir,
            train_classes=settings.train_classes,
            validation_classes=settings.validation_classes,
            test_classes=settings.test_classes,
            unlabelled=unlabelled,
            unlabelled_classes=unlabelled_classes,
        )
    except InputError:
        return None


def run_training_images(model: str) -> list[Any]:
    """Finds the images of classes that a model was trained on, if they are on this machine.

    Args:
        model: A run directory, or a `.keras` file, also the `embedder.keras` of a classifier.

    Returns:
        `ImageSet`s, with their labels or without; none if the run tells none that can be read.
    """
    path = Path(model)
    if path.name == "embedder.keras":
        model = str(path.parent)
    run = run_of(model)
    settings = _readable_settings(run) if run is not None else None
    if isinstance(settings, HeadSharingSettings):
        if not is_at_hand(settings.dataset, settings.data_dir):
            return []
        try:
            return [load_class_splits(settings).train]
        except InputError:
            return []
    dataset = run_dataset(model)
    if dataset is None:
        return []
    return [each for each in (dataset.train, dataset.unlabelled) if each is not None]


def _readable_settings(run: RunDirectory) -> Any:
    """The settings of a run; `None` if they are of another program, or damaged."""
    try:
        return read_settings(run)
    except InputError:
        return None


def _training_classes(run: RunDirectory) -> list[str]:
    """The names of the training classes, from the run or its data set."""
    try:
        summary = json.loads(run.summary.read_text())
        return [str(name) for name in summary.get("train_classes") or summary["labels"]]
    except (OSError, ValueError, KeyError, TypeError):
        dataset = run_dataset(str(run.path))
    if dataset is None:
        return []
    return [dataset.train.class_names[label] for label in dataset.train.classes]


def _validation(run: RunDirectory) -> list[dict[str, Any]]:
    """The recall of the epoch that was kept."""
    try:
        summary = json.loads(run.summary.read_text())
        recall = summary["validation"]["recall"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [
        {"model": str(run.product), "data": summary.get("dataset"), "split": "validation"}
        | {"recall": recall}
    ]


def _results_in(run: RunDirectory) -> list[dict[str, Any]]:
    if not run.product.is_file():
        return []
    ours = {run.path.resolve(), run.product.resolve()}
    found = []
    for file in sorted(run.path.glob("*.json")):
        result = _read_result(file)
        stale = file.stat().st_mtime < run.product.stat().st_mtime
        if result is not None and not stale and Path(result["model"]).resolve() in ours:
            found.append(result)
    return found


def _refusal(file: str) -> str:
    """Why a file is no result for a model card."""
    try:
        protocol = json.loads(Path(file).read_text())["protocol"]
    except (ValueError, KeyError, TypeError):
        protocol = ""
    if protocol in PROTOCOLS and protocol not in _IN_CARD:
        return (
            f"`results={file}` is of the protocol {protocol}; the model card takes results of "
            f"{' and '.join(_IN_CARD)} alone."
        )
    return (
        f"`results={file}` is not a result of an evaluation; give a file that "
        "`python -m keras_distill.evaluate --json=FILE` wrote."
    )


def _read_result(file: Path) -> dict[str, Any] | None:
    """The part of a result of `evaluate` for a model card; `None` for any other file."""
    try:
        whole = json.loads(file.read_text())
        result = {name: whole[name] for name in _OF_RESULT}
        result["recall"] = {str(int(k)): float(value) for k, value in whole["recall"].items()}
        result["model"] = str(result["model"])
    except OSError as error:
        raise InputError(f"{str(file)!r} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    if whole.get("degrade"):
        result["data"] = f"{result['data']}, {whole['degrade']} on {whole.get('degrade_side')}"
    if whole.get("mirror"):
        result["data"] = f"{result['data']}, averaged with mirror images"
    if whole.get("asymmetric"):
        gallery = whole["asymmetric"].get("gallery_model")
        result["data"] = f"{result['data']}, in the gallery of {gallery}"
    return result
