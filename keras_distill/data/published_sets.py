"""Published data sets, unpacked from tensorflow-datasets into folders of images."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from absl import logging

from keras_distill.errors import InputError
from keras_distill.publishing import published_folder


@dataclass(frozen=True)
class PublishedSet:
    """One data set of tensorflow-datasets.

    Attributes:
        builder: Name of the builder.
        label: Its feature that holds the class.
        train_classes: How many classes, from the first, train; the others test.
    """

    builder: str
    label: str
    train_classes: int


PUBLISHED_SETS = {
    "cub": PublishedSet("caltech_birds2011", "label", 100),
    "cars196": PublishedSet("cars196", "label", 98),
    "sop": PublishedSet("stanford_online_products", "class_id", 11318),
}


def unpack(name: str, data_dir: str | Path) -> Path:
    """Writes a published data set as one folder of JPEG or PNG files a class, once.

    The splits of the builder are merged: the paper splits by class. The files hold the bytes as
    published, so that every data set passes through the same pipeline.

    Args:
        name: A key of `PUBLISHED_SETS`.
        data_dir: Folder of tensorflow-datasets, where the builder is or will be prepared.

    Returns:
        The folder, `data_dir/keras_distill/BUILDER-VERSION`.

    Raises:
        InputError: If the builder is not prepared and cannot be downloaded.
    """
    import tensorflow_datasets as tfds  # slow to import, and only needed here

    published = PUBLISHED_SETS[name]
    builder = tfds.builder(published.builder, data_dir=str(Path(data_dir).expanduser()))
    target = Path(builder.data_dir).parents[1] / "keras_distill"
    target = target / f"{published.builder}-{builder.version}"
    if target.is_dir():
        return target
    prepare(builder, published.builder, name=name, data_dir=data_dir)
    logging.info("Unpacking %s into %s", published.builder, target)
    int2str = builder.info.features[published.label].int2str
    with published_folder(target) as folder:
        for split in sorted(builder.info.splits):
            examples = builder.as_dataset(
                split=split,
                decoders=tfds.decode.PartialDecoding(
                    {"image": True, published.label: True},
                    decoders={"image": tfds.decode.SkipDecoding()},
                ),
            )
            for index, example in enumerate(examples.as_numpy_iterator()):
                label, image = int(example[published.label]), example["image"]
                class_folder = folder / f"{label:05d}.{int2str(label).replace('/', '_')}"
                class_folder.mkdir(exist_ok=True)
                suffix = "png" if image.startswith(b"\x89PNG") else "jpg"
                (class_folder / f"{split}_{index:06d}.{suffix}").write_bytes(image)
    return target


def prepare(builder: Any, builder_name: str, *, name: str, data_dir: str | Path) -> None:
    """Prepares a data set of tensorflow-datasets, unless it is prepared already.

    Args:
        builder: The builder.
        builder_name: Its name.
        name: Name of the data set, for messages.
        data_dir: Folder of tensorflow-datasets.

    Raises:
        InputError: If it is not prepared and cannot be downloaded.
    """
    try:
        builder.download_and_prepare()
    except Exception as error:  # whatever the network, the archive or the disk throws
        raise InputError(
            f"`name={name}`: tensorflow-datasets could not prepare {builder_name} in "
            f"{str(data_dir)!r} ({type(error).__name__}: {error}). Prepare it where there is a "
            f"network with `tfds build {builder_name}` and give its folder as `data_dir`."
        ) from error
