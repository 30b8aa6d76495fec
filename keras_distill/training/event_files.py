"""TensorBoard's event files, whose end can be removed."""

from pathlib import Path

import tensorflow as tf

from keras_distill.publishing import published_file


def keep_events(folder: str | Path, step: int) -> None:
    """Removes the events after a step from the event files of a folder.

    A training that is resumed there would otherwise show them twice. A record that a kill cut off
    is removed too.

    Args:
        folder: The folder; need not exist.
        step: The last step to keep; 0, at the beginning of a training, removes the files.

    Raises:
        InputError: If a file cannot be written.
    """
    for file in sorted(Path(folder).glob("events.out.tfevents.*")):
        if not step:
            file.unlink()
            continue
        with published_file(file) as temporary, tf.io.TFRecordWriter(str(temporary)) as writer:
            for record in read_records(file):
                if tf.compat.v1.Event.FromString(record).step <= step:
                    writer.write(record)


def read_records(file: Path) -> list[bytes]:
    """Reads the records of an event file as far as it is whole."""
    records: list[bytes] = []
    try:
        for record in tf.data.TFRecordDataset(str(file)):
            records.append(record.numpy())
    except tf.errors.DataLossError:
        pass
    return records
