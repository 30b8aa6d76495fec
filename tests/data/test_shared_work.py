from filelock import FileLock

from keras_distill.data import shared_work
from keras_distill.data.shared_work import share_work


def test_each_piece_is_done_once_here_or_elsewhere(tmp_path, monkeypatch):
    done, found, looks = {"b"}, [], []
    held = FileLock(tmp_path / "c.lock")
    held.acquire()

    def sleep(seconds):
        looks.append(seconds)
        assert done == {"a", "b", "d"}  # all others come first
        if len(looks) == 2:
            held.release()  # as the system does when a process dies

    monkeypatch.setattr(shared_work.time, "sleep", sleep)
    order = []
    share_work(
        "abcd",
        lock=lambda piece: FileLock(tmp_path / f"{piece}.lock"),
        is_done=lambda piece: piece in done,
        work=lambda piece: (order.append(piece), done.add(piece)),
        on_found=found.append,
    )
    assert (order, found, len(looks)) == (["a", "d", "c"], ["b"], 2)
    assert list(tmp_path.iterdir()) == []
