"""Chain of a report: its models, loaded and measured, from the teacher to the index."""

import time
from functools import partial
from pathlib import Path
from typing import Any

import tensorflow as tf
from rich.console import Console
from rich.progress import Progress

from keras_distill.data.image_set import ImageSet
from keras_distill.embedding.chain_model import ChainModel
from keras_distill.embedding.jpeg_model import JpegModel, takes_files
from keras_distill.embedding.named_teacher import load_named_teacher
from keras_distill.embedding.pixel_model import PixelModel
from keras_distill.errors import InputError, renamed_arguments
from keras_distill.ledger.cost import index_cost, model_cost
from keras_distill.ledger.ledger import Ledger
from keras_distill.ledger.stage import LedgerStage, exact_stage, index_stage
from keras_distill.retrieval.backends import build_searcher, check_backend
from keras_distill.retrieval.neighbours import sample_rows
from keras_distill.retrieval.scann_search import ScannSearcher, ScannSettings
from keras_distill.settings.evaluation import parse_ks
from keras_distill.settings.report import ReportSettings, parse_scann
from keras_distill.teachers.image_size import needed_image_size
from keras_distill.teachers.loading import latest_version, load_teacher
from keras_distill.teachers.mirror_averaged_teacher import mirror_averaged_teacher
from keras_distill.teachers.teacher import Teacher

_TIMED_FILES = 64
#: Name of the stage of the student whose vectors are averaged with mirror images.
MIRROR = "student with mirror"


def load_chain(
    settings: ReportSettings, images: ImageSet
) -> tuple[list[ChainModel], list[ChainModel]]:
    """Loads the models of the chain and of its branches.

    Args:
        settings: The settings.
        images: The images that they have to embed.

    Returns:
        The models of the chain, from the teacher on; and the student in other formats.

    Raises:
        InputError: If a model cannot be used.
    """
    with renamed_arguments(path="run"):
        loaded = load_teacher(settings.run)
    student = _pixel_model(
        "student", Path(settings.run), loaded, images, asked_size=settings.image_size
    )
    size = student.image_size
    models: list[ChainModel] = [student]
    if settings.mirror:
        with renamed_arguments(model=f"run={settings.run}"):
            averaged = mirror_averaged_teacher(loaded)
        models.append(_pixel_model(MIRROR, Path(settings.run), averaged, images, size))
    if settings.teacher:
        teacher = load_named_teacher(
            "teacher",
            settings.teacher,
            details="teacher",
            output=settings.teacher_output,
            signature=settings.teacher_signature,
            image_size=settings.teacher_image_size,
            preprocessing=settings.teacher_preprocessing,
        )
        path = latest_version(Path(settings.teacher))
        models.insert(0, _pixel_model("teacher", path, teacher, images, size))
    if settings.export:
        models.append(_export(latest_version(Path(settings.export)), images, size))
    formats: list[ChainModel] = []
    for text in settings.format:
        path = latest_version(Path(text))
        with renamed_arguments(path="format"):
            model = load_teacher(path)
        taken = {"index", *(model.name for model in [*models, *formats])}
        name = "/".join(path.parts[-2:]) if path.name.isdecimal() else path.name
        name = name if name not in taken else str(path)
        formats.append(_pixel_model(name, path, model, images, size))
    return models, formats


def measured_chain(
    settings: ReportSettings,
    models: list[ChainModel],
    formats: list[ChainModel],
    images: ImageSet,
    console: Console,
) -> Ledger:
    """Embeds the images with each model, and measures the retrieval.

    Args:
        settings: The settings.
        models: The models of the chain, from `load_chain`.
        formats: The student in other formats, from `load_chain`.
        images: The images.
        console: Where progress is shown.

    Returns:
        The ledger: a chain of the models and the index, if there is one; the formats are branches
        of the student, or of its stage with mirror averaging if they have it too.

    Raises:
        InputError: If the index cannot be built.
    """
    ks = parse_ks(settings.ks)
    backend = _index_backend(settings)
    if settings.scann and (leaves := parse_scann(settings.scann)[0]) > len(images):
        raise InputError(
            f"`scann={settings.scann}` has {leaves} leaves for {len(images)} images; give fewer."
        )
    files = [images.root / images.paths[row] for row in sample_rows(len(images), _TIMED_FILES)]
    jpegs = [file.read_bytes() for file in files]
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        chain = [_measured(settings, model, images, jpegs, ks, progress) for model in models]
        student = next(row for row, stage in enumerate(chain) if stage.name == "student")
        averaged = student + 1 if settings.mirror else student
        if backend is not None:
            progress.add_task(f"searching with {backend}", total=None)
            chain.append(_index(settings, chain[-1], backend, ks))
        branches = [
            (
                averaged if model.mirror_averaged else student,
                _measured(settings, model, images, jpegs, ks, progress),
            )
            for model in formats
        ]
    return Ledger(chain, branches)


def _measured(
    settings: ReportSettings,
    model: ChainModel,
    images: ImageSet,
    jpegs: list[bytes],
    ks: list[int],
    progress: Progress,
) -> LedgerStage:
    task = progress.add_task(f"embedding with the {model.name}", total=len(images))
    begun = time.perf_counter()
    vectors = model.embed(
        images, batch_size=settings.batch_size, on_batch=partial(progress.advance, task)
    )
    seconds = time.perf_counter() - begun
    progress.update(task, description=f"timing the {model.name}")
    cost = model_cost(model, jpegs, batch_size=settings.batch_size)
    cost |= {"image_size": model.image_size, "route": model.route}
    cost |= {"mirror": model.mirror_averaged}
    cost |= {"embedding_seconds": round(seconds, 3)}
    return exact_stage(model.name, str(model.path), vectors, images.labels, ks=ks, cost=cost)


def _index(
    settings: ReportSettings, before: LedgerStage, backend: str, ks: list[int]
) -> LedgerStage:
    def build(gallery: Any) -> Any:
        if settings.scann:
            leaves, searched, reorder = parse_scann(settings.scann)
            scann = ScannSettings(leaves, searched, reorder=reorder, reorder_factor=1)
            return ScannSearcher(gallery, scann)
        return build_searcher(gallery, backend=backend)

    return index_stage(
        "index",
        before,
        build,
        ks=ks,
        cost=index_cost,
    )


def _index_backend(settings: ReportSettings) -> str | None:
    if settings.backend == "none":
        return None
    for backend in ("scann", "faiss") if settings.backend == "auto" else (settings.backend,):
        try:
            check_backend(backend)
        except InputError:
            if settings.backend != "auto" or settings.scann:
                raise
        else:
            return backend
    return None


def _pixel_model(
    name: str,
    path: Path,
    model: Teacher,
    images: ImageSet,
    default_size: int | None = None,
    asked_size: int | None = None,
) -> PixelModel:
    model.check_covers(images)
    default_size = 1 if model.needs_ids else default_size  # a table reads no pixels
    flags = {"student": "run", MIRROR: "run", "teacher": "teacher", "export": "export"}
    flag = flags.get(name, "format")
    with renamed_arguments(model=f"{flag}={path}"):
        size = needed_image_size(model.image_size, asked_size, default_size)
    return PixelModel(name, path, model, size)


def _export(path: Path, images: ImageSet, size: int | None) -> ChainModel:
    """Loads an export as TF-Serving runs it, or as a model of pixels if it takes no files."""
    try:
        loaded = tf.saved_model.load(str(path))
    except (OSError, ValueError, IndexError, tf.errors.OpError):
        loaded = None  # load_teacher names the fault, or reads it in another way
    if loaded is not None and takes_files(loaded):
        return JpegModel("export", path, loaded)
    with renamed_arguments(path="export"):
        model = load_teacher(path)
    return _pixel_model("export", path, model, images, size)
