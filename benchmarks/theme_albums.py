"""Draws albums of one theme among distracting photographs, from images with labels.

    python benchmarks/theme_albums.py --labels=data/coco18/labels.csv \\
        --themes=airplane,bird,boat,bus,cat,dog,horse,train --theme_photographs=2 --out=themes.csv

Purpose: a stand-in for real albums, of which few are to be had. An album has --photographs images.
--theme_photographs of them have the label of its theme and of no other theme; the others have no
label of a theme. An image may be in many albums, never in two splits: --validation_share of the
training images are for validation albums alone. Writes a CSV file for `--dataset=albums:FILE`, with
the columns album, labels, split and photographs.
Cost: seconds.
Expected: see benchmarks/RESULTS.md.
"""

import csv
import sys
from pathlib import Path

import numpy as np
from absl import app, flags

from keras_distill import InputError, read_label_targets

LABELS = flags.DEFINE_string("labels", None, "CSV file with file, labels and split.", required=True)
OUT = flags.DEFINE_string("out", None, "CSV file to write.", required=True)
THEMES = flags.DEFINE_list("themes", None, "Labels that are themes.", required=True)
PHOTOGRAPHS = flags.DEFINE_integer("photographs", 24, "Photographs of an album.", 1)
THEME_PHOTOGRAPHS = flags.DEFINE_integer("theme_photographs", 2, "Those that show the theme.", 1)
flags.DEFINE_integer("train", 4_000, "Training albums.", 1)
flags.DEFINE_integer("validation", 400, "Validation albums.", 1)
flags.DEFINE_integer("test", 1_000, "Test albums.", 1)
VALIDATION_SHARE = flags.DEFINE_float(
    "validation_share", 0.2, "Share of the training images that are of validation albums.", 0, 1
)
SEED = flags.DEFINE_integer("seed", 0, "Another seed draws other albums.")


def splits_of(images, random):
    """The split of each image; some training images are for validation."""
    if images.splits is None:
        raise InputError(f"--labels={LABELS.value} has no column split: add one of train and test.")
    splits = images.splits.astype("U10")
    chosen = (splits == "train") & (random.random(len(splits)) < VALIDATION_SHARE.value)
    splits[chosen] = "validation"
    return splits


def drawn_albums(images, split, count, random):
    """Rows of the file, the themes by turns."""
    shown = images.targets == 1
    columns = [images.class_names.index(theme) for theme in THEMES.value]
    of_themes = shown[:, columns].sum(axis=1)
    distracting = np.flatnonzero(of_themes == 0)
    others = PHOTOGRAPHS.value - THEME_PHOTOGRAPHS.value
    if len(distracting) < others:
        raise InputError(f"{split} has {len(distracting)} images without a theme, of {others}.")
    for number in range(count):
        theme = THEMES.value[number % len(columns)]
        fitting = np.flatnonzero(shown[:, columns[number % len(columns)]] & (of_themes == 1))
        if len(fitting) < THEME_PHOTOGRAPHS.value:
            raise InputError(f"{split} has {len(fitting)} images of the theme {theme} alone.")
        members = [
            *random.choice(fitting, THEME_PHOTOGRAPHS.value, replace=False),
            *random.choice(distracting, others, replace=False),
        ]
        listed = "|".join(images.paths[random.permutation(members)])
        yield f"{split}/{number:05d}", theme, split, listed


def draw():
    """Writes the albums of all splits, or nothing."""
    random = np.random.default_rng(SEED.value)
    images = read_label_targets(f"labels:{LABELS.value}")
    for theme in THEMES.value:
        if theme not in images.class_names:
            raise InputError(f"--themes={theme}: the labels are {', '.join(images.class_names)}.")
    splits = splits_of(images, random)
    rows = []
    for split in ("train", "validation", "test"):
        count = flags.FLAGS[split].value
        rows += drawn_albums(images.select(splits == split), split, count, random)
    with Path(OUT.value).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["album", "labels", "split", "photographs"])
        writer.writerows(rows)


def main(_):
    try:
        draw()
    except InputError as error:
        sys.exit(f"theme_albums: {error}")


if __name__ == "__main__":
    app.run(main)
