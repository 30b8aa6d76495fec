"""Contact sheet: many images in one picture."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from keras_distill.data.pictures import read_thumbnail
from keras_distill.publishing import published_file

_COLUMNS = 10
_PIXELS = 112
_TEXT = 14  # pixels below an image
_MARGIN = 6
_INK = (51, 55, 61)


def draw_contact_sheet(path: str | Path, files: Sequence[Path], captions: Sequence[str]) -> None:
    """Draws images in rows of ten, each with a caption.

    Args:
        path: PNG or JPEG file to write; replaced if it exists.
        files: The images; one that cannot be read is drawn as a grey square.
        captions: Text below each.

    Raises:
        InputError: If the file cannot be written.
    """
    columns = max(1, min(_COLUMNS, len(files)))
    rows = max(1, -(-len(files) // columns))
    width, height = _PIXELS + _MARGIN, _PIXELS + _TEXT + _MARGIN
    sheet = Image.new("RGB", (columns * width + _MARGIN, rows * height + _MARGIN), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=10)
    for place, (file, caption) in enumerate(zip(files, captions, strict=True)):
        row, column = divmod(place, columns)
        left, top = _MARGIN + column * width, _MARGIN + row * height
        small = read_thumbnail(file, _PIXELS)
        shift = (_PIXELS - small.width) // 2, (_PIXELS - small.height) // 2
        sheet.paste(small, (left + shift[0], top + shift[1]))
        draw.text((left, top + _PIXELS), caption[:22], fill=_INK, font=font)
    with published_file(Path(path)) as temporary:
        sheet.save(temporary)
