"""Readers of multi-label targets on tiny files."""

import csv
import json
import re

import numpy as np
import pytest
from absl import logging

from keras_distill import InputError, read_label_targets
from keras_distill.data.label_targets import parse_label_spec

SPLIT = "file,split,labels\na.jpg,train,cat|traffic light\nb.jpg,test,\nc.png,validation,cat\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder that relative paths start from."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder, **files):
    for name, text in files.items():
        (folder / f"{name}.csv").write_text(text)


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def rows(images):
    """The targets of each image as a text, such as `1 0 -`."""
    text = {1: "1", 0: "0", -1: "-"}
    return {
        path: " ".join(text[target] for target in targets)
        for path, targets in zip(images.paths.tolist(), images.targets.tolist(), strict=True)
    }


def problems(spec, **options):
    """The lines of the message of a data set that cannot be used, without the remedy."""
    with pytest.raises(InputError) as error:
        read_label_targets(spec, **options)
    first, *lines = str(error.value).splitlines()
    assert first.startswith(f"`spec='{spec}'` has {len(lines) - 1} unusable row")
    assert lines[-1].startswith("Repair or remove them; ")
    return [line.strip() for line in lines[:-1]]


def test_labels_of_a_csv_file(folder):
    write(folder, labels=SPLIT)
    touch(folder, "a.jpg", "b.jpg", "c.png")
    images = read_label_targets("labels:labels.csv")
    assert images.class_names == ("cat", "traffic light")
    assert rows(images) == {"a.jpg": "1 1", "b.jpg": "0 0", "c.png": "1 0"}
    assert images.targets.dtype == np.int8
    assert images.splits.tolist() == ["train", "test", "validation"]
    train = read_label_targets("labels:labels.csv", split="train")
    assert rows(train) == {"a.jpg": "1 1"}
    assert train.class_names == images.class_names  # whatever the split has
    assert (folder / train.paths[0]).is_file()


def test_one_file_a_split(folder):
    write(folder, one="file,labels\na.jpg,cat\n", two="labels,note,file\ndog;tall cat,x,b.jpg\n")
    touch(folder, "a.jpg", "b.jpg")
    images = read_label_targets("labels:train=one.csv,test=two.csv")
    assert images.class_names == ("cat", "dog", "tall cat")
    assert rows(images) == {"a.jpg": "1 0 0", "b.jpg": "0 1 1"}
    assert images.splits.tolist() == ["train", "test"]
    with pytest.raises(InputError, match=r"`split='validation'` has no images; there are images"):
        read_label_targets("labels:train=one.csv,test=two.csv", split="validation")
    write(folder, two=SPLIT)
    with pytest.raises(InputError, match=r"'two.csv' has a column `split`, but is given as the"):
        read_label_targets("labels:train=one.csv,test=two.csv")


@pytest.mark.parametrize(
    ("cells", "options", "found"),
    [
        (["cat dog", "traffic light"], {}, ["cat", "dog", "light", "traffic"]),
        (["cat dog", "traffic light"], {"separator": "|"}, ["cat dog", "traffic light"]),
        (["cat;dog", "traffic light"], {}, ["cat", "dog", "traffic light"]),
        (["a;b|c", "a;b| d "], {}, ["a;b", "c", "d"]),
        ([" cat | dog |", "|"], {}, ["cat", "dog"]),
        (["traffic light", "light"], {"classes": ["traffic light", "light"]}, None),
        (['"a, b|c"', "d"], {}, ["a, b", "c", "d"]),
    ],
)
def test_what_separates_labels(folder, cells, options, found):
    write(folder, labels="file,labels\n" + "".join(f"{i}.jpg,{c}\n" for i, c in enumerate(cells)))
    touch(folder, "0.jpg", "1.jpg")
    images = read_label_targets("labels:labels.csv", **options)
    assert sorted(images.class_names) == (found or sorted(options["classes"]))
    if "classes" in options:
        assert rows(images) == {"0.jpg": "1 0", "1.jpg": "0 1"}


def test_labels_that_nobody_annotated(folder):
    write(folder, labels="file,labels,unknown\na.jpg,cat,dog|elk\nb.jpg,dog,\n")
    touch(folder, "a.jpg", "b.jpg")
    images = read_label_targets("labels:labels.csv")
    assert images.class_names == ("cat", "dog", "elk")  # unknown is not counted
    assert rows(images) == {"a.jpg": "1 - -", "b.jpg": "0 1 0"}


def test_classes_are_ordered_by_frequency_and_then_by_name_or_as_given(folder):
    write(folder, labels="file,labels\na.jpg,x|b|c\nb.jpg,x|c|b\nc.jpg,x|a\n")
    touch(folder, "a.jpg", "b.jpg", "c.jpg")
    assert read_label_targets("labels:labels.csv").class_names == ("x", "b", "c", "a")
    (folder / "classes.txt").write_text("\ufeffa\n\n  b \nc\nx\nnever\n")
    images = read_label_targets("labels:labels.csv", classes="classes.txt")
    assert images.class_names == ("a", "b", "c", "x", "never")
    assert rows(images)["a.jpg"] == "0 1 1 1 0"
    (folder / "classes.txt").write_text("a\nb\na\n")
    with pytest.raises(InputError, match=r"classes.txt:3: 'a' is also in line 1"):
        read_label_targets("labels:labels.csv", classes="classes.txt")
    with pytest.raises(InputError, match=r"`classes` names no class"):
        read_label_targets("labels:labels.csv", classes=[" "])
    with pytest.raises(InputError, match=r"`classes='nowhere.txt'` cannot be read"):
        read_label_targets("labels:labels.csv", classes="nowhere.txt")


def test_all_unusable_rows_are_named_at_once(folder):
    write(
        folder,
        labels="\ufefffile,split,labels\n"
        "a.jpg,train,cat\n"
        "\n"
        "gone.jpg,train,cat\n"
        "./a.jpg,train,dog\n"
        "b.jpg,train\n"
        "b.jpg,train,a,b\n"
        ",train,cat\n"
        "b.jpg,trian,cat\n"
        "b.jpg,test,cat|frog\n"
        "c.webp,test,cat\n",
    )
    touch(folder, "a.jpg", "b.jpg", "c.webp")
    assert problems("labels:labels.csv", classes=["cat", "dog"]) == [
        "labels.csv:6: it has 2 fields instead of 3",
        "labels.csv:7: it has 4 fields instead of 3",
        "labels.csv:9: the split 'trian' is none of train, validation, test",
        "labels.csv:4: 'gone.jpg' does not exist below '.'",
        "labels.csv:5: 'a.jpg' is also in labels.csv:2",
        "labels.csv:8: it names no image",
        "labels.csv:10: 'frog': not among the 2 classes",
        "labels.csv:11: 'c.webp' is neither JPEG nor PNG",
    ]


def test_many_unusable_rows_are_counted(folder):
    write(folder, labels="file,labels\n" + "".join(f"{row}.jpg,cat\n" for row in range(50)))
    with pytest.raises(InputError) as error:
        read_label_targets("labels:labels.csv")
    lines = str(error.value).splitlines()
    assert lines[0] == "`spec='labels:labels.csv'` has 50 unusable rows:"
    assert lines[20:22] == [
        "  labels.csv:21: '19.jpg' does not exist below '.'",
        "  and 30 more",
    ]


def test_missing_images_and_other_labels_may_be_passed_over_but_not_silently(folder, monkeypatch):
    said = []
    monkeypatch.setattr(logging, "warning", lambda text, *values: said.append(text % values))
    write(folder, labels="file,labels\na.jpg,cat|frog\ngone.jpg,cat\nb.jpg,frog|eel\n")
    touch(folder, "a.jpg", "b.jpg")
    images = read_label_targets(
        "labels:labels.csv", classes=["cat"], missing="skip", other_labels="ignore"
    )
    assert rows(images) == {"a.jpg": "1", "b.jpg": "0"}
    assert said == [
        "Skipping 1 of 3 images: 'gone.jpg' does not exist below '.'",
        "Ignoring 2 labels that are none of the classes, such as 'frog' of 2 images",
    ]
    write(folder, labels="file,labels\ngone.jpg,cat\n")
    with pytest.raises(InputError, match=r"`spec='labels:labels.csv'` has no images"):
        read_label_targets("labels:labels.csv", missing="skip")


def test_images_are_found_below_their_folder(folder):
    write(folder, labels="file,labels\nsub/a.jpg,cat\nb.jpg,cat\nc.jpg,cat\n")
    touch(folder / "photos", "sub/a.jpg", "deep/down/b.jpg", "c.jpg", "sub/c.jpg")
    images = read_label_targets("labels:labels.csv", images="photos")
    assert images.paths.tolist() == ["sub/a.jpg", "deep/down/b.jpg", "c.jpg"]
    assert images.root.name == "photos"
    touch(folder / "photos", "deep/b.jpg")
    assert problems("labels:labels.csv", images="photos") == [
        "labels.csv:3: 'b.jpg' is 2 times below 'photos', such as 'deep/b.jpg' and "
        "'deep/down/b.jpg'"
    ]
    absolute = folder / "photos" / "sub" / "a.jpg"
    write(folder, labels=f"file,labels\n{absolute},cat\nsub/a.jpg,dog\n")
    assert problems("labels:labels.csv", images="photos") == [
        "labels.csv:3: 'sub/a.jpg' is also in labels.csv:2"
    ]
    with pytest.raises(InputError, match=r"`images='nowhere'` is no folder"):
        read_label_targets("labels:labels.csv", images="nowhere")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has no rows below"),
        (b"file,labels\n", "has no rows below"),
        (b"image,labels\na.jpg,cat\n", "has no column 'file'; its first line must name"),
        (b"file,labels\na.jpg,\xff\n", "cannot be read as CSV in UTF-8"),
        (b'file,labels\na.jpg,"cat\n', "cannot be read as CSV in UTF-8"),
        (b"file,labels\na.jpg,\n", r"`spec='labels:labels.csv'` has no labels"),
    ],
)
def test_csv_files_that_cannot_be_used(folder, content, message):
    (folder / "labels.csv").write_bytes(content)
    touch(folder, "a.jpg")
    with pytest.raises(InputError, match=message):
        read_label_targets("labels:labels.csv")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "is unknown; give one of labels:FILE.csv, .*, coco, voc2007"),
        ("labels", "is unknown"),
        ("labels:", "is unknown"),
        ("folder:photos", "is unknown"),
        ("labels:nowhere.csv", "there is no file 'nowhere.csv'"),
        ("voc:nowhere", "there is no folder 'nowhere'"),
        ("labels:train=labels.csv,train=labels.csv", "names a split twice"),
        ("voc:train=.,test=.", "give one folder"),
        ("labels:train=labels.csv,test=sub/labels.csv", "in several folders; give `images`"),
    ],
)
def test_names_of_data_sets_that_cannot_be_used(folder, spec, message):
    write(folder, labels=SPLIT)
    (folder / "sub").mkdir()
    write(folder / "sub", labels=SPLIT.replace("split,", "").replace(",train", ""))
    with pytest.raises(InputError, match=re.escape(f"`spec={spec!r}`") + f".*{message}"):
        read_label_targets(spec)


@pytest.mark.parametrize("name", ["split", "missing", "other_labels", "difficult"])
def test_choices_are_checked(name):
    with pytest.raises(InputError, match=f"`{name}='maybe'` is unknown; give one of "):
        read_label_targets("labels:x.csv", **{name: "maybe"})


def test_paths_may_have_commas_and_equal_signs(folder):
    write(folder, **{"a,b=c": SPLIT})
    assert parse_label_spec("labels:a,b=c.csv")[1] == {"": folder.__class__("a,b=c.csv")}
    _, files = parse_label_spec("labels:test=a,b=c.csv,train=a,b=c.csv")
    assert {split: str(file) for split, file in files.items()} == dict.fromkeys(
        ("test", "train"), "a,b=c.csv"
    )


OPEN_IMAGES = (
    "ImageID,Source,LabelName,Confidence\n"
    "001,verification,/m/cat,1\n"
    "001,verification,/m/dog,0\n"
    "002,verification,/m/dog,1\n"
    "001,verification,/m/elk,1\n"
)


def test_three_states_of_open_images(folder):
    write(folder, human=OPEN_IMAGES)
    touch(folder / "images", "001.jpg", "train/002.png")
    images = read_label_targets("open_images:human.csv", images="images")
    assert images.class_names == ("/m/cat", "/m/dog", "/m/elk")
    assert rows(images) == {"001.jpg": "1 0 1", "train/002.png": "- 1 -"}
    assert images.splits is None
    write(folder, names="/m/cat,Cat\n/m/dog,Dog\n/m/elk,Dog\n/m/frog,Frog\n")
    images = read_label_targets(
        "open_images:test=human.csv", images="images", descriptions="names.csv", split="test"
    )
    assert images.class_names == ("Cat", "Dog (/m/dog)", "Dog (/m/elk)")
    write(folder, names="LabelName,DisplayName\n/m/cat,Cat\n")
    assert problems("open_images:human.csv", images="images", descriptions="names.csv") == [
        "human.csv:3: '/m/dog' is not in 'names.csv'",
        "human.csv:4: '/m/dog' is not in 'names.csv'",
        "human.csv:5: '/m/elk' is not in 'names.csv'",
    ]


def test_unusable_rows_of_open_images(folder):
    write(
        folder,
        human=OPEN_IMAGES
        + "001,machine,/m/frog,0.7\n001,x,/m/cat,0\n,x,/m/cat,1\n001,x,,1\n003,x,/m/cat,1\n",
    )
    touch(folder, "001.jpg", "002.jpg", "002.png")
    assert problems("open_images:human.csv") == [
        "human.csv:6: the confidence '0.7' is neither 1 nor 0",
        "human.csv:7: '001' has '/m/cat' with both 1 and 0",
        "human.csv:8: it names no image",
        "human.csv:9: it names no label",
        "human.csv:10: '003' does not exist below '.'",
    ]
    with pytest.raises(InputError, match=r"'names.csv' cannot be read"):
        read_label_targets("open_images:human.csv", descriptions="names.csv")


COCO = {
    "images": [
        {"id": 9, "file_name": "COCO_9.jpg", "height": 5},
        {"id": 25, "file_name": "COCO_25.jpg"},
        {"id": 30, "file_name": "COCO_30.jpg"},
    ],
    "annotations": [
        {"image_id": 9, "category_id": 18, "iscrowd": 0},
        {"image_id": 9, "category_id": 18, "iscrowd": 0},
        {"image_id": 25, "category_id": 90, "iscrowd": 1},
        {"image_id": 25, "category_id": 18, "iscrowd": 0},
    ],
    "categories": [
        {"id": 1, "name": "person"},
        {"id": 18, "name": "dog"},
        {"id": 90, "name": "toothbrush"},
    ],
}


def test_objects_of_coco(folder):
    file = folder / "annotations" / "instances_train2014.json"
    file.parent.mkdir()
    file.write_text(json.dumps(COCO))
    touch(folder / "train2014", "COCO_9.jpg", "COCO_25.jpg", "COCO_30.jpg")
    images = read_label_targets(f"coco_json:{file}")
    assert images.root == folder
    assert images.class_names == ("dog", "toothbrush", "person")  # the last without images
    assert rows(images) == {
        "train2014/COCO_9.jpg": "1 0 0",
        "train2014/COCO_25.jpg": "1 1 0",
        "train2014/COCO_30.jpg": "0 0 0",
    }
    second = folder / "annotations" / "instances_val2014.json"
    other = {**COCO, "images": [{"id": 9, "file_name": "v.jpg"}], "annotations": []}
    second.write_text(json.dumps(other))
    touch(folder / "val2014", "v.jpg")
    spec = f"coco_json:train={file},test={second}"
    assert rows(read_label_targets(spec, split="test")) == {"val2014/v.jpg": "0 0 0"}
    assert rows(read_label_targets(spec, split="train")) == rows(images)


def test_unusable_entries_of_coco(folder):
    broken = json.loads(json.dumps(COCO))
    broken["images"] += [{"id": 9, "file_name": "x.jpg"}, {"id": 31}, "x"]
    broken["images"][1:1] = [{"id": 32, "file_name": ""}]
    broken["annotations"] += [
        {"image_id": 77, "category_id": 18},
        {"image_id": 9, "category_id": 19},
        {"image_id": 9},
    ]
    (folder / "coco.json").write_text(json.dumps(broken))
    touch(folder, "COCO_9.jpg", "COCO_30.jpg")
    assert problems("coco_json:coco.json") == [
        "coco.json:images[1]: it has no usable id and file_name",
        "coco.json:images[4]: the id 9 is there twice",
        "coco.json:images[5]: it has no usable id and file_name",
        "coco.json:images[6]: it has no usable id and file_name",
        "coco.json:annotations[4]: there is no image of the id 77",
        "coco.json:annotations[5]: there is no category of the id 19",
        "coco.json:annotations[6]: it has no usable image_id and category_id",
        "coco.json:images[2]: 'COCO_25.jpg' does not exist below '.'",
    ]


@pytest.mark.parametrize("content", ["{", "[]", '{"images": [], "annotations": []}', "\xff"])
def test_json_of_another_layout(folder, content):
    (folder / "coco.json").write_text(content, encoding="latin-1")
    with pytest.raises(
        InputError, match=r"'coco.json' (cannot be read as JSON|has not the layout)"
    ):
        read_label_targets("coco_json:coco.json")


def voc(folder, name, *objects, filename=None):
    (folder / "Annotations").mkdir(exist_ok=True)
    parts = "".join(
        f"<object><name>{label}</name><pose>Left</pose>"
        + ("" if difficult is None else f"<difficult>{difficult}</difficult>")
        + "<part><name>head</name></part></object>"
        for label, difficult in objects
    )
    text = f"<annotation><filename>{filename or name + '.jpg'}</filename>{parts}</annotation>"
    (folder / "Annotations" / f"{name}.xml").write_text(text)
    touch(folder / "JPEGImages", f"{name}.jpg")


@pytest.mark.parametrize(
    ("difficult", "target"), [("unknown", "-"), ("present", "1"), ("absent", "0")]
)
def test_objects_of_pascal_voc(folder, difficult, target):
    voc(folder, "000001", ("dog", 0), ("dog", 1), ("person", 1), ("person", 0), ("cat", 1))
    voc(folder, "000002", ("cat", None), filename="000002")
    voc(folder, "000003")
    images = read_label_targets("voc:.", difficult=difficult, classes=["cat", "dog", "person"])
    assert rows(images) == {
        "000001.jpg": f"{target} 1 1",
        "000002.jpg": "1 0 0",
        "000003.jpg": "0 0 0",
    }
    assert images.root.name == "JPEGImages"
    assert images.splits is None


def test_lists_of_pascal_voc(folder):
    for name in "abcde":
        voc(folder, name, ("dog", 0))
    lists = folder / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("a\nb\n")
    (lists / "trainval.txt").write_text("a\nb\nc\n")
    (lists / "val.txt").write_text("c\n")
    (lists / "test.txt").write_text("d\n\n")
    (lists / "dog_train.txt").write_text("a 1\nb -1\n")
    images = read_label_targets("voc:.")
    assert images.splits.tolist() == ["train", "train", "validation", "test", ""]
    (lists / "train.txt").unlink()
    (lists / "val.txt").unlink()
    images = read_label_targets("voc:.")
    assert images.splits.tolist() == ["train", "train", "train", "test", ""]
    (lists / "test.txt").write_text("d\nc\nz\n")
    assert problems("voc:.") == [
        "ImageSets/Main/test.txt:3: there is no Annotations/z.xml",
        "ImageSets/Main/trainval.txt:3: 'c' is in the split 'test' already",
    ]


def test_unusable_files_of_pascal_voc(folder):
    voc(folder, "a", ("dog", 0), ("", 0))
    voc(folder, "b", ("dog", 0))
    voc(folder, "c", ("dog", 0), filename=" ")
    voc(folder, "d", ("dog", 0), filename="b.jpg")
    (folder / "Annotations" / "e.xml").write_text("<annotation>\n<object>\n</annotation>")
    found = problems("voc:.")
    assert found[:1] == ["Annotations/a.xml:object[1]: it has no <name>"]
    assert found[1:2] == ["Annotations/c.xml: it has no <filename>"]
    assert found[2].startswith("Annotations/e.xml:3: it is no XML (mismatched tag")
    assert found[3:] == ["Annotations/d.xml: 'b.jpg' is also in Annotations/b.xml"]
    with pytest.raises(InputError, match=r"has no files Annotations/\*.xml"):
        read_label_targets(f"voc:{folder / 'JPEGImages'}")


def test_a_csv_file_that_csv_wrote_is_read_back(folder):
    """Random tables, with quotes, commas, line breaks and names of any script."""
    rng = np.random.default_rng(0)
    names = ["a b", 'say "x"', "x,y", "ß ł", "two\nlines", "猫"]
    for _ in range(20):
        targets = rng.integers(0, 2, (6, len(names)))
        with (folder / "labels.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["labels", "file"])
            for row, each in enumerate(targets):
                chosen = [name for name, target in zip(names, each, strict=True) if target]
                writer.writerow([" | ".join(chosen), f"{row}.jpg"])
        touch(folder, *(f"{row}.jpg" for row in range(6)))
        images = read_label_targets("labels:labels.csv", classes=names, separator="|")
        np.testing.assert_array_equal(images.targets, targets)
