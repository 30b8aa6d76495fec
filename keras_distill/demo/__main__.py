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
from dataclasses import dataclass
from pathlib import Path

from keras_distill.demo.server import query_served_student
from keras_distill.publishing import published_file
from keras_distill.serving.embedded.packages import check_packages
from keras_distill.settings.command import Command
from keras_distill.settings.settings import Settings, setting


@dataclass(frozen=True, kw_only=True)
class DemoSettings(Settings, group="Output"):
    """Settings of the demo."""

    run_dir: str = setting("runs/demo", "Folder for everything that the demo makes.")
    seed: int = setting(0, "Seed of weights, batches and crops.", group="Training", least=0)


COMMAND = Command("keras_distill.demo", __doc__, DemoSettings)

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


def main(settings: DemoSettings) -> None:
    """Runs the demo."""
    check_packages()
    begun = time.perf_counter()
    root = Path(settings.run_dir)
    data = ("--dataset=glyphs", f"--data_dir={root / 'data'}")
    for name, recipe in _RECIPES.items():
        teacher = () if name in ("teacher", "baseline") else (f"--teacher={root / 'teacher'}",)
        _run(
            "train",
            *data,
            *_COMMON,
            *recipe,
            *teacher,
            f"--seed={settings.seed}",
            f"--run_dir={root / name}",
            "--overwrite",
        )
    from keras_distill.demo.comparison import compare_models  # after the trainings: takes memory

    results = compare_models(root, list(_RECIPES))
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


if __name__ == "__main__":
    COMMAND.run(main)
