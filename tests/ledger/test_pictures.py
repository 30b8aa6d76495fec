import base64
import io

import numpy as np
from PIL import Image

from keras_distill.ledger.pictures import picture_uri


def test_picture_is_the_centre(tmp_path):
    pixels = np.zeros((160, 320, 3), np.uint8)
    pixels[10:150, 90:230] = (200, 40, 10)  # the central 7/8 of the height
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    kind, _, data = picture_uri(tmp_path / "wide.png").partition(",")
    assert kind == "data:image/jpeg;base64"
    small = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
    assert small.shape == (96, 96, 3)
    assert np.abs(small.astype(int) - (200, 40, 10)).max() < 12
    assert len(data) < 3000


def test_picture_is_upright_over_white(photograph, tmp_path):
    jpeg, upright = photograph(6, (300, 500))
    (tmp_path / "phone.jpg").write_bytes(jpeg)
    (tmp_path / "upright.png").write_bytes(upright)
    stored, turned = (
        np.asarray(Image.open(io.BytesIO(base64.b64decode(picture_uri(file).partition(",")[2]))))
        for file in (tmp_path / "phone.jpg", tmp_path / "upright.png")
    )
    np.testing.assert_allclose(stored.astype(int), turned, atol=12)
    assert np.abs(np.rot90(stored).astype(int) - turned).mean() > 20
    Image.new("RGBA", (90, 90)).save(tmp_path / "nothing.png")
    data = picture_uri(tmp_path / "nothing.png").partition(",")[2]
    assert (np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) == 255).all()


def test_grey_and_large_and_broken(tmp_path):
    Image.new("L", (3000, 2000), 80).save(tmp_path / "grey.jpg")
    assert picture_uri(tmp_path / "grey.jpg").startswith("data:image/jpeg")
    Image.new("RGBA", (1, 9)).save(tmp_path / "thin.png")
    assert picture_uri(tmp_path / "thin.png").startswith("data:image/jpeg")
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    assert picture_uri(tmp_path / "broken.jpg") is None
    Image.new("1", (20_000, 10_000)).save(tmp_path / "bomb.png")
    assert picture_uri(tmp_path / "bomb.png") is None
    assert picture_uri(tmp_path / "missing.jpg") is None
