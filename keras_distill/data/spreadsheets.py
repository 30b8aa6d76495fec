"""Sheets of Excel files."""

import re
import zipfile
from pathlib import Path
from xml.etree import ElementTree

from keras_distill.errors import InputError

_MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_RELATION = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"


def read_sheet(file: Path, name: str) -> list[tuple[int, list[str]]]:
    """Reads a sheet of an `.xlsx` file as text.

    Args:
        file: The file.
        name: Name of the sheet.

    Returns:
        The number of each row and its cells, from column A on; empty text for empty cells.

    Raises:
        InputError: If the file cannot be read or has no such sheet.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            sheets = _sheets(archive)
            if name not in sheets:
                raise InputError(
                    f"{str(file)!r} has no sheet {name!r}; it has {', '.join(map(repr, sheets))}."
                )
            texts = _shared_texts(archive)
            rows = ElementTree.fromstring(archive.read(sheets[name])).iter(f"{_MAIN}row")
            return [(int(row.get("r", 0)), _cells(row, texts)) for row in rows]
    except (OSError, KeyError, ValueError, IndexError, zipfile.BadZipFile) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{str(file)!r} cannot be read as a spreadsheet ({error}).") from error
    except ElementTree.ParseError as error:
        raise InputError(f"{str(file)!r} cannot be read as a spreadsheet ({error}).") from error


def _sheets(archive: zipfile.ZipFile) -> dict[str, str]:
    """The file of each sheet in the archive, by its name."""
    relations = ElementTree.fromstring(archive.read("xl/_rels/workbook.xml.rels"))
    targets = {str(each.get("Id")): str(each.get("Target")) for each in relations}
    book = ElementTree.fromstring(archive.read("xl/workbook.xml"))
    return {
        str(sheet.get("name")): "xl/" + targets[str(sheet.get(_RELATION))].removeprefix("/xl/")
        for sheet in book.iter(f"{_MAIN}sheet")
    }


def _shared_texts(archive: zipfile.ZipFile) -> list[str]:
    if "xl/sharedStrings.xml" not in archive.namelist():
        return []
    strings = ElementTree.fromstring(archive.read("xl/sharedStrings.xml"))
    return ["".join(text.text or "" for text in each.iter(f"{_MAIN}t")) for each in strings]


def _cells(row: ElementTree.Element, texts: list[str]) -> list[str]:
    cells: list[str] = []
    for cell in row.iter(f"{_MAIN}c"):
        column = 0
        for letter in re.sub(r"\d", "", cell.get("r", "")):
            column = 26 * column + ord(letter) - ord("A") + 1
        cells += [""] * (column - 1 - len(cells))
        value = cell.find(f"{_MAIN}v")
        text = "" if value is None else value.text or ""
        if cell.get("t") == "s":
            text = texts[int(text)]
        elif cell.get("t") == "inlineStr":
            text = "".join(each.text or "" for each in cell.iter(f"{_MAIN}t"))
        cells.append(text.strip())
    return cells
