"""Shows the main job on generated pictures: a large network teaches a small one.

Trains a teacher on 48 classes of `glyphs` and a baseline student on the labels of 12. Two more
students have these labels and, absolutely or relatively, what the teacher makes of the images of
the other 36. All four are compared on classes that none of them has seen. The best student is
exported and served; the demo sends it JPEG files over gRPC, and shows what an index has nearest to
them. Each step is a command that can be repeated by hand.

  python -m keras_distill.demo --run_dir=runs/demo --seed=0

Exit codes: 0 done, 2 unusable flags or input.
"""

import json
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from keras_distill.demo.server import query_served_student
from keras_distill.publishing import published_file
from keras_distill.serving.embedded.packages import check_packages
from keras_distill.settings.command import Command

COMMAND = Command("keras_distill.demo", __doc__)
COMMAND.string("Output", "run_dir", "runs/demo", "Folder for everything that the demo makes.")
COMMAND.integer("Training", "seed", 0, "Seed of weights, batches and crops.", 0)

# A MobileNet that ends early and mild crops: all start from random weights and see few pictures.
_COMMON = (
    "--backbone=mobilenet",
    "--backbone_layer=conv_pw_5_relu",
    "--backbone_weights=none",
    "--image_size=64",
    "--embedding_dim=128",
    "--task_loss=multi_similarity",
    "--crop_area=0.5",
    "--learning_rate=1e-2",
    "--test_classes=48:96",
)
_STUDENT = ("--train_classes=0:12", "--alpha=0.25", "--epochs=20", "--steps_per_epoch=24")
_UNLABELLED = ("--images_per_class=4", "--unlabelled=glyphs:12:48", "--unlabelled_per_batch=32")
_RECIPES = {
    "teacher": ("--train_classes=0:48", "--alpha=0.5", "--epochs=40"),
    "baseline": _STUDENT,
    "absolute": (*_STUDENT, *_UNLABELLED, "--teacher_losses=absolute:1"),
    "relative": (*_STUDENT, *_UNLABELLED, "--teacher_losses=relative:0.1"),
}
_KS = (1, 2, 4, 8)


def main(flags: Any) -> None:
    """Runs the demo."""
    check_packages()
    begun = time.perf_counter()
    root = Path(flags.run_dir)
    data = ("--dataset=glyphs", f"--data_dir={root / 'data'}")
    for name, recipe in _RECIPES.items():
        teacher = () if name in ("teacher", "baseline") else (f"--teacher={root / 'teacher'}",)
        _run(
            "train",
            *data,
            *_COMMON,
            *recipe,
            *teacher,
            f"--seed={flags.seed}",
            f"--run_dir={root / name}",
            "--overwrite",
        )
    results = _compare(root)
    best = max(("baseline", "absolute", "relative"), key=lambda name: results[name]["recall"]["1"])
    exported = _run("export", f"--model={root / best}", f"--out={root / 'models'}", "--name=glyphs")
    results["exported"] = json.loads(exported.splitlines()[-1]) | {"student": best}
    results["served"] = query_served_student(_run, root, root / best, "glyphs")
    results["seconds"] = round(time.perf_counter() - begun, 1)
    with published_file(root / "summary.json") as temporary:
        temporary.write_text(json.dumps(results, indent=2) + "\n")
    print(
        f"{results['seconds']:.0f} s in all. Pictures: {root / 'glyphs.png'}, "
        f"{root / 'recall.png'}, {root / 'neighbours.png'}"
    )
    print(root / "summary.json")


def _run(command: str, *arguments: str) -> str:
    """Runs one command, shows what it prints, and returns it."""
    module = f"keras_distill.{command}"
    print(f"\n$ python -m {module} {shlex.join(arguments)}", flush=True)
    lines = []
    with subprocess.Popen(
        [sys.executable, "-m", module, *arguments], stdout=subprocess.PIPE, text=True
    ) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            lines.append(line)
    if process.returncode:
        sys.exit(process.returncode)
    return "".join(lines)


def _compare(root: Path) -> dict[str, Any]:
    """Evaluates the four models on the unseen classes; prints a table and draws it."""
    from rich.console import Console
    from rich.table import Table

    from keras_distill.data.dataset import load_dataset
    from keras_distill.data.pipeline import evaluation_batches
    from keras_distill.embedding.batches import embed_batches
    from keras_distill.evaluation.retrieval_metrics import retrieval_metrics
    from keras_distill.models.loading import load_model

    images = load_dataset("glyphs", data_dir=root / "data").test
    _draw_glyphs(images, root / "glyphs.png")
    table = Table(title=f"{len(images)} images of {len(images.classes)} unseen classes")
    table.add_column("model")
    for heading in (*(f"R@{k}" for k in _KS), "parameters", "MB", "ms per image"):
        table.add_column(heading, justify="right")
    results: dict[str, Any] = {}
    for name in _RECIPES:
        model = load_model(root / name)
        size = model.input_shape[1]
        embeddings, labels = embed_batches(model, evaluation_batches(images, image_size=size))
        metrics = retrieval_metrics(embeddings, labels, ks=_KS)
        milliseconds = _milliseconds_per_image(model, size)
        megabytes = (root / name / "student.keras").stat().st_size / 1e6
        results[name] = {
            "recall": {str(k): value for k, value in metrics.recall.items()},
            "map_at_r": metrics.map_at_r,
            "parameters": model.count_params(),
            "megabytes": round(megabytes, 3),
            "milliseconds_per_image": round(milliseconds, 3),
        }
        table.add_row(
            name,
            *(f"{value:.3f}" for value in metrics.recall.values()),
            f"{model.count_params():,}",
            f"{megabytes:.1f}",
            f"{milliseconds:.2f}",
        )
    print()
    Console().print(table)
    _draw_recall(results, root / "recall.png")
    return results


def _milliseconds_per_image(model: Any, size: int) -> float:
    """The median time of single images, one after another."""
    import numpy as np
    import tensorflow as tf

    infer = tf.function(lambda image: model(image, training=False))
    image = tf.zeros([1, size, size, 3])
    infer(image)
    seconds = []
    for _ in range(100):
        begun = time.perf_counter()
        infer(image).numpy()
        seconds.append(time.perf_counter() - begun)
    return 1000 * float(np.median(seconds))


def _draw_glyphs(images: Any, path: Path) -> None:
    """Draws eight classes in rows of ten images."""
    import numpy as np
    from PIL import Image

    rows = []
    for label in images.classes[:8]:
        files = images.paths[images.labels == label][:10]
        rows.append(np.hstack([np.asarray(Image.open(images.root / file)) for file in files]))
    with published_file(path) as temporary:
        Image.fromarray(np.vstack(rows)).save(temporary)


def _draw_recall(results: dict[str, Any], path: Path) -> None:
    """Draws Recall@K of each model."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for name, result in results.items():
        axes.plot(_KS, list(result["recall"].values()), marker="o", label=name)
    axes.set(xlabel="K", ylabel="Recall@K on unseen classes", xscale="log", xticks=_KS)
    axes.set_xticks(_KS, [str(k) for k in _KS])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend()
    with published_file(path) as temporary:
        figure.savefig(temporary, dpi=120)


if __name__ == "__main__":
    COMMAND.run(main)
