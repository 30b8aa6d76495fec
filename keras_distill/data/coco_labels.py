"""JSON files of objects in the layout of COCO."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from keras_distill.data.label_records import LabelListing, LabelRecord
from keras_distill.data.row_problems import RowProblems
from keras_distill.errors import InputError

_LAYOUT = (
    '{"images": [{"id", "file_name"}], "annotations": [{"image_id", "category_id"}], '
    '"categories": [{"id", "name"}]}'
)


def read_coco_json(files: Mapping[str, Path]) -> LabelListing:
    """Reads JSON files such as `instances_train2014.json`.

    An image has a label if there is an object of this category, a crowd (`iscrowd`) included; all
    other categories are 0. Categories that no image has are classes too.

    Args:
        files: A file for each split, or a single one by the empty name.

    Returns:
        The listing.

    Raises:
        InputError: If a file cannot be read or has another layout.
    """
    listing = LabelListing(is_split="" not in files)
    names: dict[str, None] = {}
    for split, file in files.items():
        lists = _read_lists(file)
        category = {
            id: name
            for _, id, name in _pairs(file, "categories", lists, ("id", "name"), listing.problems)
        }
        names |= dict.fromkeys(map(str, category.values()))
        records: dict[Any, LabelRecord] = {}
        for row, id, name in _pairs(file, "images", lists, ("id", "file_name"), listing.problems):
            if id in records:
                listing.problems.add(file, f"images[{row}]", f"the id {id!r} is there twice")
            else:
                records[id] = LabelRecord(file, f"images[{row}]", str(name), {}, 0, split)
        of_image: dict[Any, dict[str, int]] = {id: {} for id in records}
        keys = ("image_id", "category_id")
        for row, image, label in _pairs(file, "annotations", lists, keys, listing.problems):
            if image not in records:
                problem = f"there is no image of the id {image!r}"
            elif label not in category:
                problem = f"there is no category of the id {label!r}"
            else:
                of_image[image][str(category[label])] = 1
                continue
            listing.problems.add(file, f"annotations[{row}]", problem)
        listing.records += [
            LabelRecord(each.file, each.place, each.image, of_image[id], 0, split)
            for id, each in records.items()
        ]
    listing.class_names = list(names)
    return listing


def _read_lists(file: Path) -> dict[str, list[Any]]:
    try:
        with file.open(encoding="utf-8-sig") as opened:
            content = json.load(opened)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(
            f"{str(file)!r} cannot be read as JSON ({error}); repair or download it again."
        ) from error
    if not isinstance(content, dict) or not all(
        isinstance(content.get(name), list) for name in ("images", "annotations", "categories")
    ):
        raise InputError(f"{str(file)!r} has not the layout of COCO, {_LAYOUT}.")
    return content


def _pairs(
    file: Path,
    name: str,
    lists: Mapping[str, list[Any]],
    keys: tuple[str, str],
    problems: RowProblems,
) -> Iterator[tuple[int, Any, Any]]:
    """The row of each entry of a list and two of its values; entries without them are noted."""
    for row, entry in enumerate(lists[name]):
        values = [entry.get(key) if isinstance(entry, dict) else None for key in keys]
        if any(not isinstance(value, int | str) or value == "" for value in values):
            problems.add(file, f"{name}[{row}]", f"it has no usable {' and '.join(keys)}")
        else:
            yield row, values[0], values[1]
