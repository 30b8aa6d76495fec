import tensorflow as tf

from keras_distill.training.event_files import keep_events, read_records


def steps(file):
    return [tf.compat.v1.Event.FromString(record).step for record in read_records(file)]


def write(folder, *values):
    with tf.summary.create_file_writer(str(folder)).as_default():
        for step in values:
            tf.summary.scalar("loss", 1.0, step=step)
    (file,) = folder.glob("events.out.tfevents.*")
    return file


def test_what_came_later_is_removed(tmp_path):
    file = write(tmp_path, 2, 4, 6)
    keep_events(tmp_path, 4)
    assert steps(file) == [0, 2, 4]  # the first names the version
    keep_events(tmp_path, 4)
    assert steps(file) == [0, 2, 4]
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_a_record_that_was_cut_off_is_removed(tmp_path):
    file = write(tmp_path, 2, 4)
    file.write_bytes(file.read_bytes()[:-5])
    keep_events(tmp_path, 9)
    assert steps(file) == [0, 2]


def test_all_is_removed_before_the_first_step(tmp_path):
    write(tmp_path, 0, 2)
    (tmp_path / "plugins").mkdir()
    keep_events(tmp_path, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["plugins"]


def test_no_folder(tmp_path):
    keep_events(tmp_path / "nothing", 3)
    assert not (tmp_path / "nothing").exists()
