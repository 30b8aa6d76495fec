import json

import numpy as np
import pytest

from keras_distill.errors import InputError
from keras_distill.runs.checkpoints import CheckpointFolder

ARRAYS = {"model/0": np.arange(4.0, dtype=np.float32), "seed": np.array(7, np.uint32)}


def save(folder, *steps, **options):
    for step in steps:
        folder.save(step, ARRAYS, {"step": step}, **options)


def names(folder):
    return sorted(path.name for path in folder.path.iterdir())


def damaged(folder, step, file="arrays.npz"):
    path = folder.path / f"step-{step:06d}" / file
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_the_newest_is_read_as_it_was_saved(tmp_path):
    folder = CheckpointFolder(tmp_path / "checkpoints")
    assert folder.newest() is None
    save(folder, 3, 12)
    newest = CheckpointFolder(folder.path).newest()
    assert (newest.step, newest.state()) == (12, {"step": 12})
    read = newest.arrays()
    assert read.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert (read[name].dtype, read[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(read[name], array)


def test_old_ones_are_removed_but_for_the_best(tmp_path):
    folder = CheckpointFolder(tmp_path, keep=2)
    save(folder, 1, 2, 3, 4, also_keep=[None, 1])
    assert names(folder) == ["step-000001", "step-000003", "step-000004"]
    save(folder, 3, also_keep=[1])  # the course that led to 4 was left
    assert names(folder) == ["step-000001", "step-000003"]
    with pytest.raises(ValueError, match="keep=0 must be at least 1"):
        CheckpointFolder(tmp_path, keep=0)


@pytest.mark.parametrize("file", ["arrays.npz", "state.json", "manifest.json", "more.txt"])
def test_a_damaged_one_is_passed_over_with_a_warning(file, tmp_path, caplog):
    folder = CheckpointFolder(tmp_path)
    save(folder, 5, 6, write_more=lambda path: (path / "more.txt").write_text("more"))
    damaged(folder, 6, file)
    folder = CheckpointFolder(tmp_path)
    assert folder.newest().step == 5
    assert folder.newest().step == 5
    (record,) = caplog.records
    assert record.getMessage().startswith(
        f"Passing over a damaged checkpoint, {tmp_path}/step-0000"
    )
    save(folder, 6)
    assert CheckpointFolder(tmp_path).newest().step == 6


def test_one_that_lacks_a_file_is_damaged_and_all_damaged_is_an_error(tmp_path):
    folder = CheckpointFolder(tmp_path)
    save(folder, 5, 6)
    (tmp_path / "step-000006" / "arrays.npz").unlink()
    (tmp_path / "step-000005" / "manifest.json").write_text("[]")
    with pytest.raises(
        InputError, match=r"all checkpoints in .* are damaged; begin again in another fo"
    ):
        folder.newest()


def test_a_full_disk_leaves_the_former_one_and_says_what_to_do(tmp_path, small_disk):
    folder = CheckpointFolder(tmp_path, keep=1)
    save(folder, 5)
    many = {"model/0": np.ones(2**15)}
    with small_disk(), pytest.raises(InputError) as error:
        folder.save(6, many, {})
    assert "step-000006' could not be written (File too large)" in str(error.value)
    assert "A checkpoint takes 0.262 MB or more; " in str(error.value)
    assert "MB of the disk are free." in str(error.value)
    assert "step-000005' is intact: remove old runs or caches, and start the same" in str(
        error.value
    )
    assert str(error.value).endswith("which resumes from step 5.")
    assert names(folder) == ["step-000005"]
    assert folder.newest().step == 5


def test_what_a_killed_process_left_is_no_checkpoint_and_is_removed(tmp_path):
    folder = CheckpointFolder(tmp_path)
    save(folder, 5)
    (tmp_path / ".tmp-step-000006-abc").mkdir()
    (tmp_path / ".tmp-step-000006-abc" / "manifest.json").write_text(json.dumps({"sha256": {}}))
    assert folder.newest().step == 5
    folder.remove_leftovers()
    assert names(folder) == ["step-000005"]


def test_what_another_version_did_not_keep_is_not_said_to_differ(tmp_path, caplog):
    folder = CheckpointFolder(tmp_path)
    checkpoint = folder.save(3, ARRAYS, {"provenance": {"images": "a"}})
    checkpoint.check_provenance({"images": "a"})
    with pytest.raises(InputError, match=r"`images` differs from what .*: b, not a\. Put back wh"):
        checkpoint.check_provenance({"images": "b"})
    checkpoint.check_provenance({"images": "a", "--teacher=t": "c"})
    assert "another version, which did not record --teacher=t: make sure" in caplog.text
