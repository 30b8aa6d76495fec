"""Published data sets that are split by image, unpacked from tensorflow-datasets into folders."""

from pathlib import Path

from absl import logging

from keras_distill.data.published_sets import prepare
from keras_distill.publishing import published_folder

#: Names of the data sets, which are those of their builders.
CLASSIFIED_SETS = ("cifar10", "cifar100")


def unpack_classified(name: str, data_dir: str | Path) -> Path:
    """Writes a published data set as `train/CLASS/` and `test/CLASS/`, once.

    The files hold the bytes that the builder holds, PNG, so that every data set passes through the
    same pipeline.

    Args:
        name: One of `CLASSIFIED_SETS`.
        data_dir: Folder of tensorflow-datasets, where the builder is or will be prepared.

    Returns:
        The folder, `data_dir/keras_distill/NAME-VERSION`.

    Raises:
        InputError: If the builder is not prepared and cannot be downloaded.
    """
    import tensorflow_datasets as tfds  # slow to import, and only needed here

    builder = tfds.builder(name, data_dir=str(Path(data_dir).expanduser()))
    target = Path(builder.data_dir).parents[1] / "keras_distill" / f"{name}-{builder.version}"
    if target.is_dir():
        return target
    prepare(builder, name, name=name, data_dir=data_dir)
    logging.info("Unpacking %s into %s", name, target)
    names = builder.info.features["label"].names
    with published_folder(target) as folder:
        for split in ("train", "test"):
            for each in names:
                (folder / split / each).mkdir(parents=True)
            examples = builder.as_dataset(
                split=split,
                decoders=tfds.decode.PartialDecoding(
                    {"image": True, "label": True},
                    decoders={"image": tfds.decode.SkipDecoding()},
                ),
            )
            for index, example in enumerate(examples.as_numpy_iterator()):
                image, class_name = example["image"], names[int(example["label"])]
                suffix = "png" if image.startswith(b"\x89PNG") else "jpg"
                (folder / split / class_name / f"{index:06d}.{suffix}").write_bytes(image)
    return target
