import json
import re
import shutil

import keras
import numpy as np
import pytest
from PIL import Image

from keras_distill import embed_batches, evaluation_batches, load_teacher, open_index, rebuild_index
from keras_distill.data import shard_store
from keras_distill.data.image_set import read_folder
from keras_distill.embedding import resumable
from keras_distill.retrieval import vector_index
from keras_distill.retrieval.exact_search import nearest_neighbours


@pytest.fixture(scope="session")
def built(ended_once, command, teacher, photos):
    """An index of all photos by the teacher."""

    def launch(folder):
        given = [f"--model={teacher.path}", f"--images={photos}", "--batch_size=7"]
        return command("index", "build", *given, f"--out={folder / 'photos.index'}")

    return ended_once("index", launch)


@pytest.fixture
def index(built, tmp_path):
    """A copy of that index, to be changed."""
    return shutil.copytree(built.path / "photos.index", tmp_path / "moved.index")


def last_line(ended):
    return json.loads(ended.out.splitlines()[-1])


@pytest.mark.slow
def test_classes_are_counted_among_the_remaining_images(here, index, tmp_path):
    given = [f"--index={index}", "--id=class_1/*", "--id=class_4/*"]
    assert last_line(here("index", "delete", *given))["classes"] == 4
    file = tmp_path / "info.json"
    ended = here("index", "info", f"--index={index}", f"--json={file}")
    assert re.search(r"classes +│ 4 ", ended.out)
    assert json.loads(file.read_text())["classes"] == 4


def test_build_writes_an_index_and_a_summary(built, photos, teacher, vectors):
    assert (built.code, built.err) == (0, "")
    folder = built.path / "photos.index"
    summary = last_line(built)
    assert summary.pop("seconds") > 0
    assert summary.pop("megabytes") > 0
    assert summary == {
        "index": str(folder),
        "pictures": 60,
        "classes": 6,
        "backend": "exact",
        "agreement": None,
        "loose": 0,
        "most_loose": 1000,
        "skipped_images": [],
    }
    index = open_index(folder)
    images = read_folder(photos)
    assert index.paths(index.rows) == images.paths.tolist()
    assert index.class_names == images.class_names
    np.testing.assert_array_equal(index.labels(index.rows), images.labels)
    np.testing.assert_allclose(index.vectors(index.rows), vectors, atol=1e-5)
    assert index.manifest["model"] == str(teacher.path)
    assert index.manifest["image_size"] == 40
    assert not (folder / ".embedded").exists()


def test_search_prints_a_table_and_draws_a_picture(here, index, teacher, photos, vectors, tmp_path):
    images = read_folder(photos)
    row = images.paths.tolist().index("class_2/4.jpg")
    shutil.copy(photos / "class_2" / "4.jpg", tmp_path / "query.jpg")
    ended = here(
        "index",
        "search",
        f"--index={index}",
        f"--model={teacher.path}",
        f"--image={tmp_path}/query.jpg",
        "--k=7",
        f"--picture={tmp_path}/found.png",
        f"--json={tmp_path}/found.json",
    )
    assert (ended.code, ended.err) == (0, "")
    expected, distances = nearest_neighbours(vectors[row : row + 1], vectors, k=7)
    found = json.loads((tmp_path / "found.json").read_text())
    assert [n["picture"] for n in found["neighbours"]] == images.paths[expected[0]].tolist()
    assert [n["class"] for n in found["neighbours"]] == [
        images.class_names[label] for label in images.labels[expected[0]]
    ]
    far = [n["distance"] for n in found["neighbours"]]
    np.testing.assert_allclose(far, distances[0], atol=2e-3)
    assert found["neighbours"][0]["picture"] == "class_2/4.jpg"
    assert (found["backend"], found["agreement"]) == ("exact", None)
    shown = re.findall(r"│ (\d+) +│ (\d\.\d{4}) +│ (class_\d) +│ (\S+)", ended.out)
    assert shown == [
        (str(rank), f"{n['distance']:.4f}", n["class"], n["picture"])
        for rank, n in enumerate(found["neighbours"], 1)
    ]
    picture = Image.open(tmp_path / "found.png").convert("RGB")
    assert picture.width > picture.height > 300
    assert str(tmp_path / "found.png") in ended.out


@pytest.mark.slow
def test_photos_that_were_moved_are_drawn_from_where_they_are(
    here, index, teacher, photos, tmp_path
):
    manifest = json.loads((index / "manifest.json").read_text())
    (index / "manifest.json").write_text(json.dumps({**manifest, "root": "/gone"}))
    given = [f"--index={index}", f"--model={teacher.path}", f"--image={photos}/class_0/0.png"]
    grey = {}
    for name, flags in (("gone", []), ("moved", [f"--pictures_in={photos}"])):
        file = tmp_path / f"{name}.png"
        assert here("index", "search", *given, *flags, f"--picture={file}").code == 0
        grey[name] = (np.asarray(Image.open(file).convert("RGB")) == 200).all(axis=2).mean()
    assert grey["gone"] > 0.3 > 0.1 > grey["moved"]


def test_add_and_delete(here, index, teacher, photos, tmp_path, vectors):
    ended = here("index", "delete", f"--index={index}", "--id=class_1/*", "--id=class_0/0.png")
    assert (ended.code, ended.err) == (0, "")
    summary = last_line(ended)
    assert (summary["deleted"], summary["pictures"], summary["loose"]) == (11, 49, 11)

    given = [f"--index={index}", f"--model={teacher.path}"]
    ended = here("index", "add", *given, f"--images={photos}", "--classes=1:3")
    assert (ended.code, ended.err) == (0, "")
    summary = last_line(ended)
    assert (summary["added"], summary["pictures"], summary["loose"]) == (10, 59, 11)
    assert not (index / ".embedded").exists()

    Image.new("RGB", (50, 50), (9, 200, 9)).save(tmp_path / "green.png")
    ended = here("index", "add", *given, f"--images={tmp_path}", "--rebuild")
    assert (last_line(ended)["added"], last_line(ended)["loose"]) == (1, 0)
    found = open_index(index)
    assert found.labels(found.rows)[-1] == -1
    assert found.paths(found.rows)[-1].endswith("/green.png")
    query = f"--image={tmp_path}/green.png"
    file = tmp_path / "found.json"
    assert here("index", "search", *given, query, "--k=1", f"--json={file}").code == 0
    (nearest,) = json.loads(file.read_text())["neighbours"]
    assert nearest["picture"].endswith("/green.png")
    assert nearest["class"] is None

    ended = here("index", "add", *given, f"--images={photos}", "--classes=2:")
    assert (ended.code, last_line(ended)["added"]) == (0, 0)


def test_rebuild_is_required_at_the_limit(here, index, teacher, photos, monkeypatch):
    monkeypatch.setattr(vector_index, "LEAST_LOOSE_ROWS", 9)
    rebuild_index(index, backend="scann")
    ended = here("index", "delete", f"--index={index}", "--id=class_1/*")
    assert ended.code == 2
    assert "would hold 10 images added or deleted since it was built, more than 9" in ended.err
    assert here("index", "delete", f"--index={index}", "--id=class_1/*", "--rebuild").code == 0
    given = [f"--index={index}", f"--model={teacher.path}", f"--images={photos}"]
    ended = here("index", "add", *given)
    assert ended.code == 2
    assert "add --rebuild, which embeds nothing again" in ended.err
    assert not (index / ".embedded").exists()
    assert here("index", "add", *given, "--rebuild").code == 0
    assert len(open_index(index)) == 60


@pytest.mark.slow
def test_scann_and_a_dataset_by_its_name(here, teacher, photos, tmp_path):
    out = tmp_path / "scann.index"
    given = [f"--model={teacher.path}", f"--dataset=folder:{photos}", "--backend=scann"]
    file = tmp_path / "built.json"
    ended = here("index", "build", *given, f"--out={out}", f"--json={file}")
    assert ended.code == 0
    summary = json.loads(file.read_text())
    assert summary == last_line(ended)
    assert summary["agreement"] == {"share": 1.0, "queries": 60, "k": 10}
    given = [f"--index={out}", f"--model={teacher.path}", f"--image={photos}/class_3/2.jpg"]
    ended = here("index", "search", *given, f"--json={file}", "--k=4")
    assert "scann found 100.0% of the exact 4 nearest" in ended.out
    assert json.loads(file.read_text())["agreement"] == {"share": 1.0, "queries": 1, "k": 4}


def test_damaged_images_are_left_out(here, teacher, damaged_photos, tmp_path):
    given = [f"--model={teacher.path}", f"--images={damaged_photos}", f"--out={tmp_path}/i"]
    ended = here("index", "build", *given, "--strict_images")
    assert ended.code == 2
    assert "class_0/1.jpg, class_2/0.png" in ended.err
    assert not (tmp_path / "i").exists()
    ended = here("index", "build", *given)
    assert last_line(ended)["skipped_images"] == ["class_0/1.jpg", "class_2/0.png"]
    assert last_line(ended)["pictures"] == 58
    query = f"--image={damaged_photos}/class_0/1.jpg"
    ended = here("index", "search", f"--index={tmp_path}/i", given[0], query)
    assert ended.code == 2
    assert re.search(
        r"--image=\S+class_0/1\.jpg: it is neither a JPEG nor a PNG image\.", ended.err
    )
    assert "strict_images" not in ended.err


@pytest.mark.slow
def test_photographs_are_found_by_their_upright_copies(here, teacher, photograph, tmp_path, caplog):
    """Behind a link; beside them are images that are not read."""
    (tmp_path / "phone").mkdir()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "linked").symlink_to("../phone")
    for orientation in range(1, 9):
        stored, upright = photograph(orientation, (60, 90), seed=7)
        (tmp_path / "phone" / f"{orientation}.jpg").write_bytes(stored)
        (tmp_path / f"{orientation}.png").write_bytes(upright)
    Image.open(tmp_path / "1.png").save(tmp_path / "phone" / "9.webp")
    shared = [f"--model={teacher.path}", f"--index={tmp_path}/i"]
    ended = here("index", "build", shared[0], f"--images={tmp_path}/photos", f"--out={tmp_path}/i")
    assert last_line(ended)["pictures"] == 8
    assert "1 image is neither JPEG nor PNG and is not read (1 .webp, such as" in caplog.text
    for orientation in (3, 6, 7):
        query = f"--image={tmp_path}/{orientation}.png"
        here("index", "search", *shared, query, "--k=2", f"--json={tmp_path}/found.json")
        first, second = json.loads((tmp_path / "found.json").read_text())["neighbours"]
        assert first["picture"] == f"linked/{orientation}.jpg"
        assert first["distance"] < 0.05 * second["distance"]
    ended = here("index", "search", *shared, f"--image={tmp_path}/phone/9.webp")
    assert ended.code == 2
    assert "9.webp: it is WebP, neither JPEG nor PNG. Convert what Pillow reads" in ended.err


def test_another_model_is_refused_unless_it_is_trusted(
    here, index, small_embedder, photos, tmp_path
):
    small_embedder(dim=8, image_size=40).save(tmp_path / "other.keras")
    given = [f"--index={index}", f"--model={tmp_path}/other.keras"]
    query = f"--image={photos}/class_0/1.jpg"
    ended = here("index", "search", *given, query)
    assert ended.code == 2
    assert re.search(
        r"--model=\S*other.keras: the model is not the one that .*moved.index' was built with",
        ended.err,
    )
    assert "--other_model trusts it" in ended.err
    assert here("index", "search", *given, query, "--other_model").code == 0
    (tmp_path / "more").mkdir()
    shutil.copy(photos / "class_0" / "1.jpg", tmp_path / "more" / "new.jpg")
    ended = here("index", "add", *given, f"--images={tmp_path}/more")
    assert ended.code == 2

    small_embedder(dim=5, image_size=40).save(tmp_path / "narrow.keras")
    given = [f"--index={index}", f"--model={tmp_path}/narrow.keras"]
    ended = here("index", "search", *given, query, "--other_model")
    assert ended.code == 2
    assert "queries has width 5, the index" in ended.err


def test_table_of_vectors_is_refused(here, index, photos, tmp_path):
    np.savez(tmp_path / "table.npz", ids=["a.jpg"], vectors=np.eye(1))
    given = [f"--model={tmp_path}/table.npz", f"--image={photos}/class_0/1.jpg"]
    ended = here("index", "search", f"--index={index}", *given)
    assert ended.code == 2
    assert "table.npz is a table of vectors, which reads no pixels" in ended.err


def test_a_killed_build_resumes(here, teacher, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(shard_store, "_SHARD_ROWS", 16)
    embedded, kill_after = [], 2
    real = resumable.embed_batches

    def counting(embedder, batches):
        if len(embedded) == kill_after:
            raise KeyboardInterrupt
        vectors, labels = real(embedder, batches)
        embedded.append(len(vectors))
        return vectors, labels

    monkeypatch.setattr(resumable, "embed_batches", counting)
    given = [f"--model={teacher.path}", f"--images={photos}", f"--out={tmp_path}/i"]
    assert here("index", "build", *given).code == 130
    assert embedded == [16, 16]
    ended = here("index", "info", f"--index={tmp_path}/i")
    assert ended.code == 2
    assert "holds no index; make one with" in ended.err
    embedded.clear()
    kill_after = 9
    assert here("index", "build", *given).code == 0
    assert embedded == [16, 12]
    assert len(open_index(tmp_path / "i")) == 60
    assert sorted(p.name for p in (tmp_path / "i").iterdir()) == [
        ".lock",
        "manifest.json",
        "part-0001",
    ]


def test_full_disk(here, teacher, photos, tmp_path, small_disk, monkeypatch):
    wide = keras.Sequential([keras.Input((40, 40, 3)), keras.layers.Flatten()])
    keras.Model(wide.inputs, wide.outputs).save(tmp_path / "wide.keras")
    given = [f"--model={tmp_path}/wide.keras", f"--images={photos}", f"--out={tmp_path}/i"]
    with small_disk():
        ended = here("index", "build", *given)
    assert ended.code == 2
    assert "could not be written" in ended.err
    assert not (tmp_path / "i" / "manifest.json").exists()
    assert here("index", "build", *given).code == 0


def test_info_and_delete_load_no_tensorflow(early, index, tmp_path):
    ended = early("index", "info", f"--index={index}", "--json=info.json", cwd=tmp_path)
    assert (ended.code, ended.err) == (0, "")
    assert re.search(r"pictures +│ 60 ", ended.out)
    assert re.search(r"backend +│ exact ", ended.out)
    told = json.loads((tmp_path / "info.json").read_text())
    assert told["manifest"]["dim"] == 8
    assert told["pictures"] == 60
    assert early("index", "delete", f"--index={index}", "--id=class_1/*").code == 0
    file = index / "part-0001" / "vectors.npy"
    file.write_bytes(file.read_bytes()[:500])
    for verb in ("info", "delete", "search", "add"):
        flags = {
            "info": [],
            "delete": ["--id=class_2/*"],
            "search": ["--model=.", f"--image={index}/manifest.json"],
            "add": ["--model=.", "--images=."],
        }[verb]
        ended = early("index", verb, f"--index={index}", *flags)
        assert ended.code == 2
        assert "vectors.npy' has 500 bytes in place of" in ended.err


def test_usable_flags_load_tensorflow(early, index, photos):
    assert (
        early("index", "build", "--model=.", f"--images={photos}", "--out=new", fresh=True).code
        == 99
    )
    given = [f"--index={index}", "--model=.", f"--image={photos}/class_0/0.png"]
    assert early("index", "search", *given, fresh=True).code == 99


BUILD = ["build", "--model=photos", "--images=photos", "--out=new.index"]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "'' must be one of build, add, delete, search, info."),
        (["rebuild"], "'rebuild' must be one of build, add, delete, search, info."),
        (["build"], "--out is required to build."),
        ([*BUILD, "--model="], "--model is required to build."),
        ([*BUILD, "--model=nowhere"], "--model=nowhere does not exist."),
        ([*BUILD, "--images=nowhere"], "--images=nowhere does not exist."),
        ([*BUILD, "--images="], "either --images=FOLDER or --dataset=NAME."),
        ([*BUILD, "--dataset=cub"], "either --images=FOLDER or --dataset=NAME."),
        ([*BUILD[:2], "--dataset=birds", "--out=i"], "--dataset=birds is unknown; give one of"),
        ([*BUILD, "--out=photos"], "--out=photos holds other files, such as 'a.jpg'"),
        ([*BUILD, "--out=file"], "--out=file is a file; give a folder."),
        ([*BUILD, "--backend=annoy"], "--backend=annoy: value should be one of <auto|exact|"),
        ([*BUILD, "--k=3"], "--k has no effect on build; leave it out."),
        ([*BUILD, "--json=photos"], "--json=photos is a folder; give a file."),
        (["search", "--index=i", "--model=photos"], "--image is required to search."),
        (["search", "--model=photos", "--image=file"], "--index is required to search."),
        (["search", "--index=photos", "--model=photos", "--image=no.jpg"], "no.jpg does not exist"),
        (["search", "--index=photos", "--model=photos", "--image=file"], "holds no index; make"),
        (
            ["search", "--index=i", "--model=photos", "--image=file", "--picture=a.jpg"],
            "--picture=a.jpg must end in .png.",
        ),
        (["delete", "--index=photos"], "--id is required to delete."),
        (["delete", "--index=photos", "--id=a", "--backend=faiss"], "--backend has no effect on"),
        (["info", "--index=photos"], "--index=photos holds no index; make one with"),
        (["delete", "--index=photos", "--id=a", "--mirror"], "--mirror has no effect on delete"),
        (
            ["build", "--vectors=photos", "--out=i", "--mirror"],
            "--mirror has no effect on build --vectors; leave it out.",
        ),
        (["info", "--index=photos", "--modle=x"], "'modle'. Did you mean: model"),
    ],
)
def test_unusable_flag_is_refused_before_tensorflow_is_loaded(early, tmp_path, argv, said):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_text("")
    (tmp_path / "file").write_text("")
    ended = early("index", *argv, cwd=tmp_path)
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err
    assert ended.err.startswith("index: ")
    assert ended.err.endswith("See `python -m keras_distill.index --help`.\n")
    assert "Traceback" not in ended.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "photos"]


@pytest.mark.slow
def test_index_is_not_mixed_with_vectors_made_otherwise(here, index, teacher, photos, tmp_path):
    given = [f"--model={teacher.path}", f"--images={photos}"]
    averaged = tmp_path / "averaged.index"
    assert here("index", "build", *given, "--mirror", f"--out={averaged}").code == 0
    rows = open_index(averaged)
    assert (rows.manifest["mirror"], open_index(index).manifest["mirror"]) == (True, False)
    embedder = load_teacher(teacher.path, mirror=True)
    expected, _ = embed_batches(embedder, evaluation_batches(read_folder(photos), image_size=40))
    np.testing.assert_allclose(rows.vectors(rows.rows), expected, atol=1e-5)
    assert np.abs(expected - open_index(index).vectors(rows.rows)).max() > 1e-3
    query = f"--image={photos / 'class_2' / '4.jpg'}"
    told = "was built by this model {}, and the vectors cannot be mixed. {} it{}, or build another"
    for folder, flags, remedy in (
        (averaged, [], told.format("with --mirror", "Give", "")),
        (index, ["--mirror"], told.format("without it", "Leave", " out")),
    ):
        right = [] if flags else ["--mirror"]
        assert here("index", "delete", f"--index={folder}", "--id=class_1/*").code == 0
        for verb, more in (("add", given), ("search", [given[0], query])):
            refused = here("index", verb, *more, f"--index={folder}", *flags)
            assert refused.code == 2
            assert f"'{folder}' {remedy} index." in refused.err
            assert "--nomirror" not in refused.err  # which nobody has given
            done = here("index", verb, *more, f"--index={folder}", *right)
            assert (done.code, done.err) == (0, "")
        assert len(open_index(folder)) == 60
    row = open_index(averaged).search(expected[:1], k=1).distances
    assert row[0, 0] < 1e-3


def test_another_model_stays_another_model(here, index, small_embedder, photos, tmp_path):
    small_embedder(8, image_size=40).save(tmp_path / "other.keras")
    given = [f"--model={tmp_path / 'other.keras'}", f"--image={photos / 'class_2' / '4.jpg'}"]
    ended = here("index", "search", f"--index={index}", *given, "--mirror")
    assert ended.code == 2
    assert "the model is not the one that" in ended.err
    assert "without it" not in ended.err
