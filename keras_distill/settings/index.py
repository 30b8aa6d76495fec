"""Settings of the command `index`, and the pictures that they name."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from keras_distill.data.pixel_limit import MAX_PIXELS
from keras_distill.errors import InputError, renamed_arguments
from keras_distill.settings.data import DATASETS, check_name
from keras_distill.settings.settings import Settings, setting

_EMBEDDING = {"model", "image_size", "batch_size", "images", "dataset", "data_dir", "classes"}
_EMBEDDING |= {"strict_images", "max_pixels", "vectors", "mirror"}
_EMBEDDING |= {"quality_model", "least_quality", "quality_crops"}
_USED = {
    "build": _EMBEDDING | {"out", "overwrite", "backend"},
    "add": _EMBEDDING | {"index", "rebuild"},
    "delete": {"index", "id", "rebuild"},
    "search": {"index", "model", "image_size", "other_model", "image", "k", "picture"}
    | {"pictures_in", "mirror"},
    "info": {"index"},
}
_BY_WORDS = {"index", "words", "word_vectors", "k", "picture", "pictures_in"}


@dataclass(frozen=True, kw_only=True)
class IndexPlaceSettings(Settings):
    """Folder of an index, and how it is written."""

    index: str = setting("", "Folder of the index. Required, except by build.", group="Index")
    out: str = setting("", "build: folder for the index. Required.", group="Writing")
    overwrite: bool = setting(
        False, "build: replace an index that is already there.", group="Writing"
    )
    backend: str = setting(
        "auto",
        "build: search backend. auto is exact below 20,000 pictures and where approximate search "
        "would find too little, otherwise scann, or faiss where ScaNN is not installed.",
        group="Writing",
        choices=["auto", "exact", "scann", "faiss"],
    )
    rebuild: bool = setting(
        False, "add, delete: merge all parts and build the searcher again.", group="Writing"
    )
    id: tuple[str, ...] = setting(
        (), "delete: path of a picture as search shows it, or a pattern: 'cats/*'.", group="Writing"
    )


@dataclass(frozen=True, kw_only=True)
class IndexModelSettings(Settings, group="Model"):
    """The model whose embeddings are compared."""

    model: str = setting("", "A .keras file, a run directory, or a SavedModel. Required.")
    image_size: int | None = setting(
        None, "Pixels a side, for a model that takes any size.", least=1
    )
    mirror: bool = setting(
        False,
        "build: average the vectors of each image and its mirror image: often better, in twice the "
        "time. add, search: required if the index was built so.",
    )
    batch_size: int = setting(64, "build, add: images embedded at once.", least=1)
    other_model: bool = setting(
        False,
        "search: trust that --model embeds like the model of the index, as a student does that it "
        "taught with an absolute loss.",
    )


@dataclass(frozen=True, kw_only=True)
class IndexPictureSettings(Settings, group="Pictures"):
    """The pictures of an index."""

    images: str = setting(
        "", "Folder of JPEG and PNG images; its sub-folders, if any, are classes."
    )
    dataset: str = setting("", f"Instead of --images, {', '.join(DATASETS)}, or folder:PATH.")
    vectors: str = setting(
        "",
        "build, add: instead of pictures and --model, a folder of vectors that `python -m "
        "keras_distill.embed` wrote.",
    )
    data_dir: str = setting(
        "~/tensorflow_datasets", "Folder of data sets, where new ones are put, too."
    )
    classes: str = setting("", "Only these classes, as A:B, in alphabetical order.")
    strict_images: bool = setting(False, "Make a corrupt image an error instead of skipping it.")
    max_pixels: int = setting(
        MAX_PIXELS, "Height times width of the largest image that is accepted.", least=1
    )
    quality_model: str = setting(
        "",
        "build, add: a run of ranked_regression or its .keras file, which scores the pictures; "
        "those below --least_quality are left out and listed in the result.",
    )
    least_quality: float | None = setting(
        None, "Least score by --quality_model; the greatest, if lower scores are better."
    )
    quality_crops: int = setting(
        5, "Crops whose mean is the score of a picture; 0 for the whole.", least=0
    )


@dataclass(frozen=True, kw_only=True)
class IndexSearchSettings(Settings, group="Search"):
    """A search by picture or by words."""

    image: str = setting("", "Query picture. Required, unless there are --words.")
    words: str = setting(
        "",
        "Words to search an index of word-space vectors by, as dog,grass; pictures that match all "
        "of them come first.",
    )
    word_vectors: str = setting(
        "", "With --words: the file of word vectors that the model was trained with."
    )
    k: int = setting(10, "Number of pictures to find.", least=1)
    picture: str = setting("", "PNG file for a drawing of the pictures that were found.")
    pictures_in: str = setting("", "Folder of the pictures of the index, if they were moved.")


@dataclass(frozen=True, kw_only=True)
class IndexSettings(
    IndexPlaceSettings, IndexModelSettings, IndexPictureSettings, IndexSearchSettings
):
    """Settings of the command `index`."""

    json: str = setting("", "File for the result as JSON.", group="Output")

    def check(self, verb: str) -> None:
        """Rejects what cannot work before TensorFlow is loaded.

        Args:
            verb: `build`, `add`, `delete`, `search` or `info`.

        Raises:
            InputError: If a setting is missing, has no effect, or cannot be used.
        """
        used = self._check_effects(verb)
        self._check_files()
        if "images" in used and bool(self.images) == bool(self.dataset):
            raise InputError(
                "give the pictures: either --images=FOLDER or --dataset=NAME. Or give their "
                "--vectors."
            )
        if self.dataset:
            check_name("dataset", self.dataset, self.dataset)
        if bool(self.quality_model) != (self.least_quality is not None):
            raise InputError("--quality_model and --least_quality belong together; give both.")
        if "quality_crops" in self.given and not self.quality_model:
            raise InputError("--quality_crops needs --quality_model.")
        self._check_index(verb)

    def _check_effects(self, verb: str) -> set[str]:
        """Returns the settings that the verb reads."""
        used, task = _USED[verb], verb
        if "vectors" in used and self.vectors:
            used, task = used - _EMBEDDING | {"vectors"}, f"{verb} --vectors"
        if verb == "search" and (self.words or self.word_vectors):
            used, task = _BY_WORDS, "search --words"
        for field in fields(self):
            if field.name in self.given - used - {"json"}:
                raise InputError(f"--{field.name} has no effect on {task}; leave it out.")
        for name in ("out", "index", "model", "image", "id", "words", "word_vectors"):
            if name in used and not getattr(self, name):
                raise InputError(f"--{name} is required to {task}.")
        return used

    def _check_files(self) -> None:
        files = ("model", "image", "images", "vectors", "pictures_in", "quality_model")
        for name in (*files, "word_vectors"):
            value = getattr(self, name)
            if value and not Path(value).exists():
                raise InputError(f"--{name}={value} does not exist.")
        for name in ("json", "picture"):
            value = getattr(self, name)
            if value and Path(value).is_dir():
                raise InputError(f"--{name}={value} is a folder; give a file.")
        if self.picture and Path(self.picture).suffix.lower() != ".png":
            raise InputError(f"--picture={self.picture} must end in .png.")

    def _check_index(self, verb: str) -> None:
        from keras_distill.retrieval.backends import check_backend
        from keras_distill.retrieval.index_manifest import check_files, check_free, consistently

        check_backend(self.backend)
        if verb != "build":
            folder = Path(self.index)
            consistently(folder, lambda manifest: check_files(folder, manifest))
            return
        check_free(Path(self.out))
        if (Path(self.out) / "manifest.json").exists() and not self.overwrite:
            raise InputError(
                f"--out={self.out} holds an index already; choose another folder, or --overwrite."
            )


def load_index_images(settings: IndexPictureSettings) -> tuple[Any, list[str]]:
    """Lists the readable pictures that the settings name.

    Args:
        settings: The settings.

    Returns:
        The `ImageSet`, and the relative paths of the images that were skipped.

    Raises:
        InputError: If there are none, or one is corrupt and `--strict_images`.
    """
    from keras_distill.data.dataset import find_images, parse_classes
    from keras_distill.data.image_set import read_pictures
    from keras_distill.data.readable_images import drop_unreadable

    if settings.images:
        images = read_pictures(settings.images)
    else:
        with renamed_arguments(name="dataset"):
            images = find_images(settings.dataset, settings.data_dir)
    with renamed_arguments(value="classes"):
        chosen = parse_classes(settings.classes, len(images.class_names))
    if chosen is not None:
        images = images.of_classes(chosen)
    if settings.dataset and not settings.dataset.startswith("folder:"):
        return images, []
    with renamed_arguments(strict="strict_images"):
        images, skipped = drop_unreadable(
            images, strict=settings.strict_images, max_pixels=settings.max_pixels
        )
    if not len(images):
        raise InputError(f"none of the images in {str(images.root)!r} is readable.")
    return images, skipped
