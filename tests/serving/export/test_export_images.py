from PIL import Image

from keras_distill.serving.export.export_images import export_images
from keras_distill.settings.export import FileSettings


def test_a_classifier_is_calibrated_by_its_training_images(tmp_path):
    for name, shade in (("cat", 10), ("dog", 20)):
        for split, more in (("train", 0), ("test", 100)):
            folder = tmp_path / "photos" / split / name
            folder.mkdir(parents=True)
            for index in range(6):
                Image.new("RGB", (8, 8), (shade + more,) * 3).save(folder / f"{index}.png")
    (tmp_path / "flags.txt").write_text(
        f"--recipe=head_sharing\n--dataset=folder:{tmp_path / 'photos'}\n--validation_share=0\n"
    )
    settings = FileSettings(precision=("int8",), calibration_images=5)
    compared, calibration, source = export_images(str(tmp_path), settings, 8)
    assert source == f"the training images of folder:{tmp_path / 'photos'}"
    assert (len(compared), len(calibration)) == (12, 5)
    assert set(compared.ravel().tolist()) == {10, 20}
