import subprocess
import sys

import pytest
from PIL import Image

from keras_distill.data.image_files import CONVERSION, image_format, list_image_files
from keras_distill.data.image_set import read_folder, read_pictures
from keras_distill.data.picture_list import list_pictures
from keras_distill.serving.client.image_items import image_files

LISTS = {
    "read_folder": lambda folder: read_folder(folder).paths.tolist(),
    "read_pictures": lambda folder: read_pictures(folder).paths.tolist(),
    "list_pictures": lambda folder: list_pictures(str(folder)).paths,
    "pattern": lambda folder: list_pictures(f"{folder}/**/*").paths,
    "list_image_files": list_image_files,
    "client": lambda folder: [path.relative_to(folder).as_posix() for path in image_files(folder)],
}


@pytest.fixture(params=LISTS.values(), ids=LISTS)
def listed(request):
    return request.param


@pytest.fixture
def photos(tmp_path):
    for path in ("photos/a/1.jpg", "photos/a/2.png", "elsewhere/3.jpg", "elsewhere/deep/4.JPEG"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(b"")
    return tmp_path / "photos"


def test_links_to_folders_are_followed(photos, listed, caplog):
    (photos / "b").symlink_to("../elsewhere")
    (photos / "a" / "more").symlink_to(photos.parent / "elsewhere" / "deep")
    (photos / "a" / "5.jpg").symlink_to("1.jpg")
    (photos / "a" / "gone.jpg").symlink_to("nowhere")
    inner = ["a/1.jpg", "a/2.png", "a/5.jpg", "a/more/4.JPEG"]
    assert listed(photos) == [*inner, "b/3.jpg", "b/deep/4.JPEG"]
    assert not caplog.records


def test_links_that_lead_back_end(photos, listed, caplog):
    (photos / "a" / "loop").symlink_to("../a")
    (photos / "a" / "itself").symlink_to("itself")
    assert listed(photos) == ["a/1.jpg", "a/2.png"]
    assert [record.getMessage() for record in caplog.records] == [
        f"{photos / 'a' / 'loop'} leads back to a folder above it and is not followed"
    ]


def test_images_of_other_formats_are_counted_and_named(photos, listed, caplog):
    for name in ("c.WebP", "d.webp", "b.heic", "notes.txt", ".hidden.gif", "clip.mp4"):
        (photos / "a" / name).write_bytes(b"")
    assert listed(photos) == ["a/1.jpg", "a/2.png"]
    (warning,) = [record.getMessage() for record in caplog.records]
    counted = "3 images are neither JPEG nor PNG and are not read"
    named = "2 .webp, 1 .heic, such as 'a/b.heic'"
    assert warning.startswith(
        f"{counted} ({named}), in {photos}. Convert what Pillow reads: python"
    )


def test_a_class_of_other_formats_alone(photos):
    (photos / "b").mkdir()
    (photos / "b" / "1.gif").write_bytes(b"")
    with pytest.raises(ValueError, match=r"/b' has no JPEG or PNG images; 1 image is .* \(1 \.gif"):
        read_folder(photos)


@pytest.mark.parametrize("name", ["WEBP", "GIF", "TIFF", "BMP", "AVIF", "JPEG", "PNG"])
def test_formats_and_their_conversion(tmp_path, name):
    file = tmp_path / "with space"
    Image.new("RGB", (8, 6), (9, 200, 30)).save(file, name)
    assert image_format(file.read_bytes()[:16]).lower() == name.lower()
    start = CONVERSION.index("python -c")
    command = CONVERSION[start : CONVERSION.index(" FILES", start)].replace(
        "python", sys.executable
    )
    subprocess.run(f"{command} 'with space'", shell=True, check=True, cwd=tmp_path)
    with Image.open(tmp_path / "with space.png") as converted:
        assert (converted.format, converted.size) == ("PNG", (8, 6))


@pytest.mark.parametrize(
    ("beginning", "name"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"MM\0*\0\0\0\x08", "big-endian TIFF"),
        (b"", ""),
        (b"text", ""),
    ],
)
def test_formats_that_pillow_does_not_write(beginning, name):
    assert image_format(beginning) == name
