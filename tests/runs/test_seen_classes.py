import pytest
from PIL import Image

from keras_distill.data.class_images import load_class_images
from keras_distill.data.image_set import read_folder
from keras_distill.runs.seen_classes import classes_seen_in_training


@pytest.fixture
def photos(tmp_path):
    """Three classes of ten images; a run beside them has no settings yet."""
    for name in ("crow", "tit", "wren"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for index in range(10):
            Image.new("RGB", (4, 4)).save(tmp_path / "photos" / name / f"{index}.png")
    (tmp_path / "run").mkdir()
    for file in ("model.keras", "embedder.keras", "other.keras"):
        (tmp_path / "run" / file).touch()
    return read_folder(tmp_path / "photos")


def test_classes_that_a_classifier_and_its_embedder_have_seen(photos, tmp_path):
    run = tmp_path / "run"
    written = f"--recipe=head_sharing\n--dataset=folder:{tmp_path / 'photos'}\n--test_share=0.2\n"
    (run / "flags.txt").write_text(f"{written}--validation_share=0.0\n")
    for model in (run, run / "model.keras", run / "embedder.keras"):
        assert classes_seen_in_training(str(model), photos) == ["crow", "tit", "wren"]
    assert classes_seen_in_training(str(run / "other.keras"), photos) == []
    trained = load_class_images(f"folder:{tmp_path / 'photos'}", validation_share=0)
    assert classes_seen_in_training(str(run / "embedder.keras"), trained.test) == []


def test_data_of_a_classifier_that_are_not_at_hand(photos, tmp_path):
    run = tmp_path / "run"
    for dataset in ("cifar10", "folder:nowhere", ""):  # never downloaded for this
        (run / "flags.txt").write_text(
            f"--recipe=head_sharing\n--dataset={dataset}\n--data_dir={tmp_path}\n"
        )
        assert classes_seen_in_training(str(run / "embedder.keras"), photos) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos", "run"]
