"""Settings of images with a score, or with points that are counted, and loading of their splits."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_distill.errors import InputError, renamed_arguments
from keras_distill.settings.data import SourceSettings, check_shares, without_unreadable
from keras_distill.settings.settings import Settings, setting

#: Data sets of image quality in their published layouts; the first word of `--dataset`.
QUALITY_SETS = ("live", "tid2013", "csiq", "kadid")
_NAMES = (
    "folder:PATH, with --scores or --points, or a data set of image quality as it was published: "
    f"{', '.join(f'{name}:FOLDER' for name in QUALITY_SETS)}"
)


@dataclass(frozen=True, kw_only=True)
class RegressionFileSettings(Settings, group="Data"):
    """Files that hold the scores or the points of images."""

    scores: str = setting(
        "",
        "CSV file with the columns file and score, and maybe reference (images of one are never "
        "divided between splits) and split; an empty score is an image that is ranked only.",
    )
    points: str = setting(
        "",
        "Points to count: csv for a CSV file with x and y beside each image, mat for the files of "
        "ShanghaiTech and UCF, or FILE.json of COCO.",
    )
    comparisons: str = setting(
        "",
        "CSV file of comparisons, file,file,label: 1 if the first image is better, 0 if the second "
        "is, 0.5 if neither.",
    )
    lower_is_better: bool = setting(
        False, "For --scores: lower scores are better, as differential ones (DMOS) are."
    )
    distortion_column: str = setting(
        "distortion", "For --scores: column of the kinds of distortion, to evaluate each."
    )
    original_sizes: str = setting(
        "",
        "For --points: CSV file with the columns file, width and original_width, if the images "
        "were made smaller; --sigma is in pixels of the originals.",
    )
    split_seed: int = setting(
        0, "Seed of the division of data that is not split, for several divisions.", least=0
    )

    def check_regression_files(self, dataset: str) -> None:
        """Rejects what cannot work.

        Args:
            dataset: The setting `dataset`.

        Raises:
            InputError: If a file is missing, or a flag has no effect.
        """
        kind = dataset.partition(":")[0]
        for name in ("scores", "comparisons", "original_sizes"):
            value = getattr(self, name)
            if value and not Path(value).expanduser().is_file():
                raise InputError(f"--{name}={value}: there is no such file.")
        if self.points not in ("", "csv", "mat") and not (
            self.points.endswith(".json") and Path(self.points).expanduser().is_file()
        ):
            raise InputError(
                f"--points={self.points}: give csv, mat, or a file of COCO JSON, FILE.json."
            )
        if self.scores and self.points:
            raise InputError("--scores and --points are for different outputs; give one of them.")
        if kind in QUALITY_SETS and (self.scores or self.points):
            given = "scores" if self.scores else "points"
            raise InputError(f"--dataset={dataset} has its scores; leave --{given} out.")
        if self.original_sizes and not self.points:
            raise InputError(f"--original_sizes={self.original_sizes} needs --points.")
        if self.lower_is_better and not self.scores:
            raise InputError("--lower_is_better needs --scores.")


@dataclass(frozen=True, kw_only=True)
class RegressionDataSettings(SourceSettings, RegressionFileSettings, group="Data"):
    """Data."""

    dataset: str = setting("", f"{_NAMES}. Required.")
    validation_share: float = setting(
        0.1, "Share of the training references to validate on, if the data are not split so."
    )
    test_share: float = setting(
        0.2, "Share of the references to test on, if the data are not split at all."
    )

    def check(self) -> None:
        """Rejects data that cannot exist before anything slow is loaded.

        Raises:
            InputError: If the name is unknown, or a file or folder is missing.
        """
        check_regression_dataset(self.dataset)
        self.check_regression_files(self.dataset)
        check_shares(self, "references")


def check_regression_dataset(dataset: str) -> None:
    """Rejects the name of data with scores or points that cannot exist.

    Args:
        dataset: The setting `dataset`.

    Raises:
        InputError: If it is none, or the folder is missing.
    """
    kind, _, path = dataset.partition(":")
    if kind not in ("folder", *QUALITY_SETS) or not path:
        what = f"--dataset={dataset} is unknown; give" if dataset else "--dataset is required:"
        raise InputError(f"{what} {_NAMES}.")
    if not Path(path).expanduser().is_dir():
        raise InputError(f"--dataset={dataset}: there is no folder {path!r}.")


def regression_kind(settings: Any) -> str:
    """Tells what the data have: `score`, `density`, or nothing, empty.

    Args:
        settings: `RegressionFileSettings` with `dataset`.
    """
    if settings.points:
        return "density"
    is_scored = settings.scores or settings.dataset.partition(":")[0] in QUALITY_SETS
    return "score" if is_scored else ""


def load_regression_images(settings: Any, *splits: str) -> tuple[list[Any], list[str]]:
    """Loads splits of the data that the settings name.

    Args:
        settings: `SourceSettings` and `RegressionFileSettings` with `dataset` and the shares.
        *splits: Some of `"train"`, `"validation"`, `"test"`.

    Returns:
        The `ScoredImages` or `PointImages` of each split, without unreadable images, `None` for one
        that has no images; and the relative paths of the images that were skipped. Images without
        scores and points are `ScoredImages` without a score.

    Raises:
        InputError: If the data cannot be used, or have a corrupt image and `--strict_images`.
    """
    import numpy as np

    images = _read(settings)
    kept, skipped = without_unreadable(settings, images.unlabelled)
    readable = np.isin(images.paths, kept.paths)
    parts = _split_of(images, settings)
    found = [images.select((parts == split) & readable) for split in splits]
    return [each if len(each) else None for each in found], skipped


def _read(settings: Any) -> Any:
    import numpy as np

    from keras_distill.data.image_set import read_pictures
    from keras_distill.data.point_files import read_points
    from keras_distill.data.quality_sets import read_quality_set
    from keras_distill.data.score_csv import read_scores
    from keras_distill.data.scored_images import ScoredImages

    kind, _, path = settings.dataset.partition(":")
    root = Path(path).expanduser()
    with renamed_arguments(spec="dataset", root="dataset"):
        if kind in QUALITY_SETS:
            return read_quality_set(settings.dataset)
        if settings.points:
            sizes = settings.original_sizes or None
            return read_points(root, settings.points, original_sizes=sizes)
        if settings.scores:
            return read_scores(
                settings.scores,
                root,
                distortion_column=settings.distortion_column,
                higher_is_better=not settings.lower_is_better,
            )
        paths = read_pictures(root).paths
    nothing = np.full(len(paths), np.nan, np.float32)
    return ScoredImages(root, paths, nothing, paths, np.full(len(paths), ""))


def _split_of(images: Any, settings: Any) -> Any:
    """The split of each image: the data's own, completed by shares of the groups."""
    import numpy as np

    from keras_distill.data.group_split import group_split

    split, seed = images.splits, settings.split_seed
    parts = np.full(len(images), "train", "<U10")
    if not regression_kind(settings):
        return parts  # nothing can be measured on images that are only ranked
    if split is not None:
        parts = np.where(split == "", "train", split).astype("<U10")
    with renamed_arguments(groups="dataset"):
        if split is None and settings.test_share:
            parts = group_split(images.groups, {"test": settings.test_share}, seed=seed)
        if not (parts == "validation").any() and settings.validation_share:
            rows = np.flatnonzero(parts == "train")
            if len(np.unique(images.groups[rows])) > 1:
                shares = {"validation": settings.validation_share}
                parts[rows] = group_split(images.groups[rows], shares, seed=seed)
    return parts
