import base64
import contextlib
import functools
import importlib
import io
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import json_format
from PIL import Image
from tensorflow.core.framework import tensor_pb2

from keras_distill import build_embedder
from keras_distill.__main__ import COMMANDS
from keras_distill.models.backbones import BACKBONES
from keras_distill.serving.client.messages import PredictRequest
from keras_distill.settings.recipes import RECIPES, train_command
from keras_distill.settings.settings import names_of

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]
# Pages with tests of their own, whose links and flags are looked at here too.
OTHER_PAGES = [
    ROOT / name
    for name in ("ARCHITECTURE.md", "serving/README.md", "keras_distill/serving/README.md")
]
# Flags that the text names and other programs have.
FOREIGN_FLAGS = {
    *("check", "logdir", "help", "wait"),  # sha256sum, tensorboard, every command, docker
    # TF-Serving
    *("enable_serialization_as_tensor_content", "max_num_load_retries", "ssl_config_file"),
    *("tensorflow_intra_op_parallelism", "xla_cpu_compilation_enabled"),
}
# Python blocks that need a folder of images, a teacher or a server, each with a test of its own.
PREPARED = ("client.embed(", 'image_dataset_from_directory("photos"', "client.predict(")
# Pages whose blocks train or export.
LONG = {f"docs/{page}.md" for page in ("export", "head_sharing", "multilabel", "ranked_regression")}


def blocks(page, language):
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", page.read_text(), re.S | re.M)


def name_of(page):
    return str(page.relative_to(ROOT))


def python_example(word):
    (example,) = (text for page in PAGES for text in blocks(page, "python") if word in text)
    return example


def run(example, name):
    names: dict = {}
    exec(compile(example, name, "exec"), names)
    return names


def test_the_readme_is_short_and_lists_every_page():
    text = README.read_text()
    assert len(text.splitlines()) <= 150
    for page in PAGES[1:]:
        # PyPI shows the text of such a link, though it leads nowhere there.
        assert f"[{name_of(page)}]({name_of(page)})" in text


@pytest.mark.parametrize("page", [*PAGES, *OTHER_PAGES], ids=name_of)
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
    for link in re.findall(r"\]\(([^)]+)\)", text):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            titles = re.findall(r"^#+ (.*)$", target.read_text(), re.M)
            anchors = [re.sub(r"[^\w\- ]", "", t.lower()).replace(" ", "-") for t in titles]
            assert anchor in anchors, link


def test_the_architecture_describes_every_room_and_names_files_that_exist():
    text = (ROOT / "ARCHITECTURE.md").read_text()
    package = ROOT / "keras_distill"
    rooms = {folder.parent.name for folder in package.glob("*/__init__.py")}
    assert rooms == set(re.findall(r"^\| `(\w+)/` \|", text, re.M))
    for path in re.findall(r"`([\w/]+/[\w.]+\.\w+)`", text):
        if "NAME" in path:
            continue
        assert (package / path).exists() or (ROOT / path).exists(), path


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_is_of_a_language_that_is_tested(page):
    languages = re.findall(r"^ *```(\w*)\n.*?^ *```$", page.read_text(), re.S | re.M)
    assert set(languages) <= {"sh", "python"}


@pytest.mark.slow
def test_notebook_example_runs(tmp_path, monkeypatch):
    example = python_example(PREPARED[1]).replace("steps_per_epoch=100", "steps_per_epoch=1")
    example = example.replace("classes_per_batch=8", "classes_per_batch=2")
    noise = np.random.default_rng(0)
    for label in range(20):
        folder = tmp_path / "photos" / f"{label:02}"
        folder.mkdir(parents=True)
        for index in range(2):
            pixels = noise.integers(0, 256, (40, 50, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{index}.jpg")
    teacher = build_embedder(  # of the size that the README's own teacher takes
        "mobilenet", alpha=0.25, embedding_dim=16, backbone_weights="none"
    )
    assert teacher.input_shape[1] == BACKBONES["resnet101"].image_size
    (tmp_path / "runs" / "teacher").mkdir(parents=True)
    teacher.save(tmp_path / "runs" / "teacher" / "student.keras")
    monkeypatch.chdir(tmp_path)
    history = run(example, str(README))["distiller"].history.history
    assert np.isfinite(history["relative"]).all()
    assert len(history["val_recall@1"]) == len(history["relative"]) > 3
    assert (tmp_path / "student.keras").is_file()


def test_client_example_runs(served, tmp_path, monkeypatch):
    served.name = "photos"
    (tmp_path / "birds").mkdir()
    for name in ("robin.jpg", "wren.png", "birds/1.jpg"):
        (tmp_path / name).write_bytes(name.encode())
    monkeypatch.chdir(tmp_path)
    example = python_example(PREPARED[0]).replace("localhost:8500", served.address)
    names = run(example, "docs/client.md")
    np.testing.assert_array_equal(names["vectors"][1], served.embedding(b"wren.png"))
    np.testing.assert_array_equal(names["result"].vectors, [served.embedding(b"birds/1.jpg")])


def test_predict_example_runs(served, tmp_path, monkeypatch):
    served.name = "crowd"
    served.add_output("density", (4, 4, 1))
    served.add_output("logits", (5,), instead_of="embedding")
    (tmp_path / "birds").mkdir()
    for name in ("square.jpg", "station.jpg", "birds/1.jpg"):
        (tmp_path / name).write_bytes(name.encode())
    monkeypatch.chdir(tmp_path)
    example = python_example(PREPARED[2]).replace("localhost:8500", served.address)
    names = run(example, "docs/client.md")
    assert names["answers"].keys() == {"density", "logits"}
    density = served.output(b"station.jpg", "density")
    np.testing.assert_array_equal(names["answers"]["density"][1], density)
    assert names["people"][1] == pytest.approx(density.sum(), rel=1e-5)
    np.testing.assert_array_equal(names["logits"], [served.output(b"birds/1.jpg", "logits")])


@pytest.mark.parametrize(
    ("page", "example"),
    [
        pytest.param(
            page,
            example,
            id=f"{name_of(page)}-{index}",
            marks=[pytest.mark.slow] if name_of(page) in LONG else [],
        )
        for page in PAGES
        for index, example in enumerate(blocks(page, "python"))
        if not any(word in example for word in PREPARED)
    ],
)
def test_python_example_runs(page, example, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = run(example, name_of(page))
    if "history" in names:
        history = names["history"]
        assert np.isfinite(history["relative"]).all()
        assert len(history["val_recall@1"]) == len(history["relative"]) > 3
        assert (tmp_path / "student.keras").is_file()


@pytest.mark.parametrize("tool", ["grpcurl", "curl"])
def test_other_clients_are_shown_a_request_with_the_image(tool, tmp_path):
    (tmp_path / "robin.jpg").write_bytes(bytes(range(256)))
    text = "\n\n".join(block for page in PAGES for block in blocks(page, "sh"))
    examples = re.findall(r"^printf .*?(?=\n\n|\Z)", text, re.S | re.M)
    (example,) = (text for text in examples if f" {tool} " in text)
    sent = subprocess.run(
        ["bash", "-c", f"{tool}() {{ cat; }}\n{example}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    if tool == "grpcurl":
        request = json_format.Parse(sent, PredictRequest())
        tensor = tensor_pb2.TensorProto.FromString(
            request.inputs["image_bytes"].SerializeToString()
        )
        assert request.model_spec.name == "photos"
        assert tf.make_ndarray(tensor).tolist() == [bytes(range(256))]
    else:
        (instance,) = json.loads(sent)["instances"]
        assert base64.b64decode(instance["b64"]) == bytes(range(256))


@functools.cache
def command_of(name):
    """The `Command` of a command, or `None` of the demo, which runs as a package."""
    module = importlib.import_module(f"keras_distill.{name}")
    return (
        getattr(module, "COMMAND", None)
        or importlib.import_module(f"keras_distill.{name}.__main__").COMMAND
    )


@functools.cache
def flags_in_help(name):
    command = command_of(name)
    with contextlib.redirect_stdout(io.StringIO()) as said, pytest.raises(SystemExit) as ended:
        command.run(lambda settings: 1, ["--help"])
    assert ended.value.code == 0
    return set(re.findall(r"^  --(\w+)", said.getvalue(), re.M))


def shell_lines(page):
    """The command lines of a page, with the line breaks in them joined, as lists of words."""
    text = "\n".join(blocks(page, "sh")).replace("\\\n", " ")
    text = re.sub(r"^printf .*?(?=\n\n|\Z)", "", text, flags=re.S | re.M)  # tested above
    for line in text.splitlines():
        words = [word for word in shlex.split(line, comments=True) if word != "…"]
        while words and re.match(r"[A-Z_]+=", words[0]):  # variables of the environment
            del words[0]
        if words:
            yield words


def checked_flags(name, words):
    """Fails if a command does not list a flag in its help, or cannot read its value."""
    own = words[: words.index("--")] if "--" in words else words  # what follows is for Beam
    used = {word[2:].partition("=")[0] for word in own if word.startswith("--")}
    command = train_command(words) if name == "train" else command_of(name)  # of the recipe
    known = set(command.flags) if name == "train" else flags_in_help(name)
    assert {flag if flag in known else flag.removeprefix("no") for flag in used} <= known, words
    command.parse(words)
    for word in words:
        flag, _, text = word.partition("=")
        if flag in ("--variant", "--evaluation"):  # flags of other commands
            inner = {"--variant": "train", "--evaluation": "evaluate"}[flag]
            checked_flags(inner, shlex.split(text.partition(":")[2]))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_shell_examples_can_be_run(page, tmp_path, monkeypatch):
    """Every line names a command, a target, an extra or a file that exists."""
    for name in ("configs", "serving", "keras_distill"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "my.flags").write_text("--dataset=folder:photos\n")
    monkeypatch.chdir(tmp_path)
    targets = re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(), re.M)
    extras = re.search(r"extras_require=\{(.*?)\n    \},", (ROOT / "setup.py").read_text(), re.S)[1]
    for words in shell_lines(page):
        match words:
            case ["python", "-m", "keras_distill"]:
                pass
            case ["python", "-m", module, *flags] if module.startswith("keras_distill."):
                name = module.removeprefix("keras_distill.")
                assert name in COMMANDS, words
                checked_flags(name, flags)
            case ["make", target]:
                assert target in targets, words
            case ["pip", "install", what]:
                named = re.fullmatch(r"\.(?:\[([\w,]+)\])?", what)
                assert named, words
                for extra in filter(None, (named[1] or "").split(",")):
                    assert f'"{extra}": ' in extras, words
            case ["docker", "compose", "-f", file, "up", "--wait"]:
                assert Path(file).is_file(), words
            case _:
                raise AssertionError(f"nothing here knows how to check {words}")


COMMANDS_SHOWN = {
    words[2].removeprefix("keras_distill.")
    for page in PAGES
    for words in shell_lines(page)
    if words[:2] == ["python", "-m"]
}


def test_every_command_is_shown():
    assert {*COMMANDS} - COMMANDS_SHOWN <= {"demo"}


@pytest.mark.parametrize("page", [*PAGES, *OTHER_PAGES], ids=name_of)
def test_flags_named_in_the_text_exist(page):
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text(), flags=re.S | re.M)
    named = {
        flag
        for code in re.findall(r"`([^`]+)`", text)
        for flag in re.findall(r"(?<![\w-])--(\w+)", code)
    }
    of_recipes = (names_of(settings()) for settings in RECIPES.values())
    assert named - FOREIGN_FLAGS <= set().union(*map(flags_in_help, COMMANDS), *of_recipes)


def test_the_help_of_a_command_is_printed_by_the_program():
    """In a process of its own: what the tests above read in this one."""
    printed = subprocess.run(
        [sys.executable, "-m", "keras_distill.client", "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert set(re.findall(r"^  --(\w+)", printed, re.M)) == flags_in_help("client")
