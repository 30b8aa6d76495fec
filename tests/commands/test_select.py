import json

import keras
import numpy as np
import pytest
from PIL import Image

from keras_distill import build_classifier
from keras_distill.data.image_set import read_pictures
from keras_distill.data.pipeline import evaluation_batches
from keras_distill.models.score_scale import ScoreScale
from keras_distill.selection.coverage import best_covering
from keras_distill.selection.k_centre import k_centre
from keras_distill.selection.ranking_consistency import ranking_consistency
from keras_distill.selection.uncertainty import uncertainty


def lines(file):
    return file.read_text("utf-8").splitlines()


def summary(ended):
    return json.loads(ended.out.splitlines()[-1])


@pytest.fixture(scope="module")
def models(tmp_path_factory, small_embedder):
    """An embedder, a classifier and a score model of 32 pixels, none of which knows anything."""
    folder = tmp_path_factory.mktemp("models")
    embedder = small_embedder(4)
    embedder.save(folder / "embedder.keras")
    build_classifier(["a", "b", "c"], embedder).save(folder / "classifier.keras")
    image = keras.Input((32, 32, 3), name="image")
    x = keras.layers.Conv2D(4, 3, strides=2, activation="relu")(image)
    x = keras.layers.GlobalAveragePooling2D()(x)
    score = keras.layers.Dense(1, name="score")(x)
    keras.Model(image, {"score": score}).save(folder / "score.keras")
    negative = ScoreScale(higher_is_better=False, name="distortion")(-score)
    keras.Model(image, {"score": negative}).save(folder / "distortion.keras")
    return folder


@pytest.fixture(scope="module")
def outputs(models, photos):
    """Runs a model on all photos; returns their paths and what it answers."""

    def run(name, degrade=""):
        model = keras.models.load_model(models / f"{name}.keras", compile=False)
        images = read_pictures(photos)
        found = [
            model(x["image"], training=False)
            for x, _ in evaluation_batches(images, image_size=32, degrade=degrade)
        ]
        found = [next(iter(each.values())) if isinstance(each, dict) else each for each in found]
        return images.paths, np.concatenate([each.numpy() for each in found])

    return run


@pytest.fixture(scope="module")
def select(models, photos):
    def flags(name, **values):
        given = {"images": photos, "model": models / f"{name}.keras", **values}
        return [f"--{key}={value}" for key, value in given.items()]

    return flags


def test_diversity_of_a_model_and_images(here, select, outputs, tmp_path):
    out, sheet, file = tmp_path / "new" / "c.txt", tmp_path / "c.png", tmp_path / "c.json"
    flags = select("embedder", by="diversity", budget=12, out=out, sheet=sheet, json=file)
    ended = here("select", *flags)
    assert (ended.code, ended.err) == (0, "")
    paths, vectors = outputs("embedder")
    centres = k_centre(vectors, 12)
    assert lines(out) == paths[centres.rows].tolist()
    told = summary(ended)
    assert (told["by"], told["images"], told["chosen"], told["labelled"]) == (
        "diversity",
        60,
        12,
        0,
    )
    assert told["radius"] == pytest.approx(centres.radius, rel=1e-3)
    with Image.open(sheet) as picture:
        assert picture.width > 1000
    details = json.loads(file.read_text())
    assert [each["path"] for each in details["choice"]] == lines(out)
    assert details["choice"][0]["distance"] is None
    assert details["choice"][3]["distance"] == pytest.approx(centres.distances[3], rel=1e-3)

    # Again, with those as labelled: others, as if twice as many had been chosen.
    more = tmp_path / "more.txt"
    ended = here("select", *select("embedder", by="diversity", budget=12, out=more, labelled=out))
    assert summary(ended)["labelled"] == 12
    assert lines(out) + lines(more) == paths[k_centre(vectors, 24).rows].tolist()


def test_coverage_is_the_default(here, select, outputs, tmp_path):
    out, more = tmp_path / "c.txt", tmp_path / "more.txt"
    ended = here("select", *select("embedder", budget=6, out=out))
    assert (ended.code, ended.err) == (0, "")
    paths, vectors = outputs("embedder")
    found = best_covering(vectors, 6)
    assert lines(out) == paths[found.rows].tolist()
    told = summary(ended)
    assert (told["by"], told["sample"]) == ("coverage", 60)
    assert told["mean_distance"]["last"] == pytest.approx(found.mean_distances[-1], rel=1e-3)
    assert here("select", *select("embedder", budget=6, out=more, labelled=out)).code == 0
    assert not set(lines(out)) & set(lines(more))


@pytest.mark.slow
def test_choice_of_vectors(here, select, models, photos, tmp_path):
    vectors, out, alike = tmp_path / "vectors", tmp_path / "a.txt", tmp_path / "b.txt"
    model = models / "embedder.keras"
    embed = [f"--model={model}", f"--images={photos}", f"--out={vectors}", "--shard_size=25"]
    assert here("embed", *embed).code == 0
    given = [f"--vectors={vectors}", "--budget=9", f"--out={out}", f"--sheet={tmp_path}/s.png"]
    ended = here("select", *given)
    assert (ended.code, ended.err) == (0, "")
    here("select", *select("embedder", budget=9, out=alike))
    assert lines(out) == lines(alike)
    assert summary(ended)["root"] == str(photos)
    assert here("select", *given, "--by=random").code == 0
    assert len(set(lines(out))) == 9


@pytest.mark.slow
@pytest.mark.parametrize("measure", ["entropy", "margin"])
def test_uncertainty(here, select, outputs, tmp_path, measure):
    out = tmp_path / "c.txt"
    flags = select("classifier", by="uncertainty", measure=measure, budget=7, out=out)
    ended = here("select", *flags)
    assert (ended.code, ended.err) == (0, "")
    paths, logits = outputs("classifier")
    values = uncertainty(logits, activation="sigmoid", measure=measure)
    assert lines(out) == paths[np.argsort(-values, kind="stable")[:7]].tolist()
    assert summary(ended)[measure]["first"] == pytest.approx(values.max(), rel=1e-4)


@pytest.mark.slow
def test_ranking_consistency(here, select, outputs, tmp_path):
    out, ladder = tmp_path / "c.txt", "jpeg:30,jpeg:5"
    ended = here(
        "select",
        *select("score", by="ranking_consistency", budget=60, out=out, ladder=ladder),
        "--ladder=blur:2",
    )
    assert (ended.code, ended.err) == (0, "")
    paths, best = outputs("score")
    shares = []
    for levels in (("jpeg:30", "jpeg:5"), ("blur:2",)):
        scores = np.concatenate([best, *(outputs("score", each)[1] for each in levels)], axis=1)
        shares.append(ranking_consistency(scores).shares)
    expected = dict(zip(paths.tolist(), np.mean(shares, axis=0), strict=True))
    found = [expected[path] for path in lines(out)]
    assert found == sorted(found)
    told = summary(ended)
    assert told["mean_consistency"] == pytest.approx(np.mean(found))
    assert told["ladders"] == [ladder, "blur:2"]


@pytest.mark.slow
def test_scores_that_are_lower_for_better_images_are_consistent_if_they_rise(
    here, select, tmp_path
):
    chosen = []
    for name in ("score", "distortion"):
        out = tmp_path / f"{name}.txt"
        flags = select(name, by="ranking_consistency", budget=60, out=out, ladder="jpeg:30,jpeg:5")
        assert here("select", *flags).code == 0
        chosen.append(lines(out))
    assert chosen[0] == chosen[1]


def test_random_is_seeded_and_leaves_out_what_is_labelled(here, photos, tmp_path):
    labelled, chosen = tmp_path / "labelled.txt", []
    names = sorted(str(file.relative_to(photos)) for file in photos.rglob("*.*"))
    labelled.write_text("\n".join(names[:50]) + "\n\n")
    for seed in (0, 0, 1):
        out = tmp_path / "c.txt"
        flags = [f"--images={photos}", f"--labelled={labelled}", f"--seed={seed}"]
        ended = here("select", "--by=random", *flags, "--budget=4", f"--out={out}")
        assert ended.code == 0
        chosen.append(lines(out))
    assert chosen[0] == chosen[1] != chosen[2]
    assert set(chosen[0]) <= set(names[50:])
    ended = here("select", "--by=random", *flags, "--budget=99", f"--out={out}")
    assert sorted(lines(out)) == names[50:]
    assert "There were only 10 images to choose from." in ended.err


@pytest.mark.quick(1)
@pytest.mark.parametrize("by", ["coverage", "uncertainty", "ranking_consistency", "random"])
def test_damaged_images_are_left_out(here, models, damaged_photos, tmp_path, by):
    out = tmp_path / "c.txt"
    model = {"coverage": "embedder", "uncertainty": "classifier", "random": ""}.get(by, "score")
    flags = [f"--images={damaged_photos}", f"--by={by}", "--budget=60", f"--out={out}"]
    flags += [f"--model={models}/{model}.keras"] if model else []
    flags += ["--ladder=blur:2"] if by == "ranking_consistency" else []
    ended = here("select", *flags)
    assert ended.code == 4
    assert len(lines(out)) == 58
    assert not {"class_0/1.jpg", "class_2/0.png"} & set(lines(out))
    assert summary(ended)["unreadable"] == 2
    assert "left out, as it cannot be read: class_" in ended.err


def test_unusable_models_and_lists_are_refused(here, select, photos, tmp_path):
    labelled, out = tmp_path / "labelled.txt", tmp_path / "c.txt"
    labelled.write_text("class_0/1.jpg\nnowhere.jpg\n")
    ended = here("select", *select("embedder", labelled=labelled, out=out))
    assert ended.code == 2
    assert "names 1 images that are not there, such as 'nowhere.jpg'" in ended.err
    names = sorted(str(file.relative_to(photos)) for file in photos.rglob("*.*"))
    labelled.write_text("\n".join(names))
    for name, by in (("embedder", "diversity"), ("classifier", "uncertainty")):
        ended = here("select", *select(name, labelled=labelled, out=out, by=by))
        assert ended.code == 2
        assert f"--labelled={labelled} has all of the images." in ended.err
    ended = here("select", *select("embedder", by="uncertainty", out=out))
    assert ended.code == 2
    assert "has no output 'logits', but embedding" in ended.err
    assert not out.exists()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], "--out is required"),
        (["--out=c.txt"], "--images is required, or --vectors."),
        (["--out=c.txt", "--images=photos"], "--by=coverage needs --model, or --vectors."),
        (["--out=c.txt", "--images=photos", "--model=m"], "--model=m does not exist."),
        (["--out=c.txt", "--images=phots"], "--images=phots is unknown"),
        (["--out=c.txt", "--vectors=photos"], "--vectors=photos holds no vectors"),
        (["--out=c.txt", "--by=random", "--model=m"], "--model has no effect on --by=random"),
        (["--out=c.txt", "--by=random", "--ladder=blur"], "--ladder has no effect on --by=random"),
        (["--out=c.txt", "--by=uncertainty", "--vectors=v"], "--vectors has no effect on --by=un"),
        (["--out=c.txt", "--by=uncertainty", "--images=photos"], "--by=uncertainty needs --model."),
        (["--out=photos", "--by=random", "--images=photos"], "--out=photos is a folder"),
        (["--out=c.txt", "--by=random", "--images=photos", "--sheet=a.gif"], "must end in .png"),
        (["--out=c.txt", "--by=random", "--images=photos", "--labelled=l"], "--labelled=l: there"),
        (["--budget=0", "--out=c.txt"], "--budget=0: 0 is not a positive integer"),
        (["--by=best"], "--by=best: value should be one of <coverage|diversity|"),
        (
            ["--out=c", "--by=ranking_consistency", "--images=photos", "--model=photos"]
            + ["--ladder=haze:1"],
            "--ladder=haze:1: 'haze' is unknown",
        ),
    ],
)
def test_unusable_flags_are_refused_early(early, tmp_path, flags, said):
    (tmp_path / "photos").mkdir()
    ended = early("select", *flags, cwd=tmp_path)
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err
