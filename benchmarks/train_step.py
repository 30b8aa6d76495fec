"""Cost of a training step, and of what distillation adds to it.

    python benchmarks/train_step.py
    python benchmarks/train_step.py --images=../shared/data/birds100/images --torch_python=python3

Purpose: the claims about speed. MobileNet-0.25 at 128 pixels, batches of 8 x 8, in images/s:
  cached_vs_plain          distilling with a warm cache, against the triplet loss alone
  cached_vs_live_resnet101 the same, against asking ResNet-101 (224 pixels) at each step
  plain_vs_torch           the step alone, against PyTorch at its best of eager, channels_last and
                           compiled; needs an interpreter with the extra `bench`
  input_vs_step            the input pipeline alone, against the step alone; decoding, and reading
                           from the image cache; also with jittered colours, half of the rows
                           mixed, and the teacher's answers from its cache
  decode_vs_turbo          the input pipeline, against decoding the same files by libjpeg-turbo on
                           as many threads as there are cores, and no more
  memory                   MB of the process after 2,000 steps, against after 200
The two sides of a case are timed by turns, and the median is kept. Then the kernels of a step are
summed up by what they belong to, from TensorFlow's profiler.
Cost: about eight minutes on two cores.
Expected: see benchmarks/RESULTS.md.
"""

import collections
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import keras
import numpy as np
import tensorflow as tf
from absl import app, flags
from tensorflow.tsl.profiler.protobuf import xplane_pb2

from keras_distill import (
    BatchHardTriplet,
    Distiller,
    RelativeTeacher,
    build_embedder,
    load_dataset,
    training_batches,
)
from keras_distill.data.image_set import read_folder
from keras_distill.data.pixel_cache import PixelCache
from keras_distill.data.view_changes import ViewChanges
from keras_distill.teachers.cache import TeacherCache
from keras_distill.teachers.teacher import Teacher, as_teacher

IMAGES = flags.DEFINE_string("images", "", "Folder of photographs; the glyphs if empty.")
TORCH = flags.DEFINE_string("torch_python", sys.executable, "Interpreter that has PyTorch.")
CASES = flags.DEFINE_list("cases", "", "Cases to run; all if empty.")
STEPS, WARM_UP, ROUNDS, BATCH, SIZE = 30, 10, 5, 64, 128
VIEWS = 2


def report(case, value, against, unit="images/s", **more):
    line = {"benchmark": "train_step", "case": case, "value": round(value, 1), "unit": unit}
    line |= {"against": round(against, 1), "ratio": round(value / against, 3), **more}
    print(json.dumps(line), flush=True)


def distiller(teacher_losses=(), teacher=None):
    keras.utils.set_random_seed(0)
    student = build_embedder(
        "mobilenet", alpha=0.25, image_size=SIZE, embedding_dim=512, backbone_weights="none"
    )
    model = Distiller(
        student,
        teacher=teacher,
        task_loss=BatchHardTriplet(0.2),
        teacher_losses=teacher_losses,
    )
    model.compile(keras.optimizers.Adam(3e-4))
    model.optimizer.build(model.trainable_variables)
    model.make_train_function()
    return model


def stepper(model, batches, count=STEPS, warm_up=WARM_UP):
    """Images/s of training steps. Each turn has an iterator of its own, so that no turn profits
    from batches that were made, at the cost of another, in the background of that other."""

    def images_per_second():
        iterator = iter(batches)
        for _ in range(warm_up):
            model.train_function(iterator)
        begun = time.perf_counter()
        for _ in range(count):
            model.train_function(iterator)
        return count * BATCH / (time.perf_counter() - begun)

    return images_per_second


def drawer(batches, count):
    """Images/s of an input pipeline alone."""

    def images_per_second():
        iterator = iter(batches)
        for _ in range(WARM_UP):
            next(iterator)
        begun = time.perf_counter()
        for _ in range(count):
            next(iterator)
        return count * BATCH / (time.perf_counter() - begun)

    return images_per_second


def by_turns(*rates, rounds=ROUNDS):
    """The median of each rate, measured by turns."""
    measured = [[rate() for rate in rates] for _ in range(rounds)]
    return [statistics.median(column) for column in zip(*measured, strict=True)]


def one_batch():
    pixels = np.random.default_rng(0).integers(0, 256, (BATCH, SIZE, SIZE, 3), dtype=np.uint8)
    batch = ({"image": pixels}, np.arange(BATCH) // 8)
    return tf.data.Dataset.from_tensors(batch).repeat()


def resnet101():
    return as_teacher(
        build_embedder("resnet101", image_size=224, embedding_dim=512, backbone_weights="none")
    )


def against_plain(images, folder):
    cache = TeacherCache(
        as_teacher(
            build_embedder("mobilenet", alpha=0.25, image_size=SIZE, backbone_weights="none")
        ),
        images,
        folder,
        views=VIEWS,
    )
    cache.fill()
    pixels = PixelCache(images, folder, image_size=SIZE, views=VIEWS)
    pixels.fill()
    common = {"image_size": SIZE, "steps_per_epoch": 20, "views": VIEWS}
    for how, cached in (("decoding", {}), ("image_cache", {"cached_image": pixels.lookup})):
        plain = stepper(distiller(), training_batches(images, **common, **cached))
        cached_batches = training_batches(
            images, **common, **cached, teacher_embedding=cache.lookup
        )
        distilling = stepper(distiller([RelativeTeacher()]), cached_batches)
        report(f"cached_vs_plain_{how}", *by_turns(distilling, plain))


def against_live(images, folder):
    teacher = resnet101()
    live_batches = training_batches(
        images, image_size=SIZE, steps_per_epoch=20, teacher_image_size=224
    )
    live = stepper(distiller([RelativeTeacher()], teacher), live_batches, count=3, warm_up=2)
    few = images.select(np.arange(0, len(images), max(len(images) // 256, 1)))
    few = few.select(np.isin(few.labels, np.unique(few.labels)[:64]))
    cache = TeacherCache(teacher, few, folder, views=1)
    cache.fill()
    warm_batches = training_batches(
        few, image_size=SIZE, steps_per_epoch=20, views=1, teacher_embedding=cache.lookup
    )
    warm = stepper(distiller([RelativeTeacher()]), warm_batches)
    report("cached_vs_live_resnet101", *by_turns(warm, live, rounds=3))


def against_torch():
    found = [
        TORCH.value,
        "-c",
        "import importlib.util, sys; sys.exit(not importlib.util.find_spec('torch'))",
    ]
    if subprocess.run(found, check=False).returncode:
        print(
            f"plain_vs_torch: not measured, {TORCH.value} has no PyTorch; install "
            "keras_distill[bench], or give --torch_python."
        )
        return
    plain = stepper(distiller(), one_batch())
    rates, ours = {}, []
    for mode in ("eager", "channels_last", "compiled"):
        command = [TORCH.value, str(Path(__file__).with_name("torch_step.py")), mode]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as peer:
            if peer.stdout.readline().strip() != "ready":
                print(f"plain_vs_torch: {TORCH.value} cannot run PyTorch {mode}; see above.")
                continue
            theirs = []
            for _ in range(ROUNDS):
                ours.append(plain())
                peer.stdin.write("\n")
                peer.stdin.flush()
                theirs.append(float(peer.stdout.readline()))
            peer.stdin.close()
            rates[mode] = statistics.median(theirs)
    if rates:
        best = max(rates, key=rates.get)
        report(
            "plain_vs_torch",
            statistics.median(ours),
            rates[best],
            torch={mode: round(rate, 1) for mode, rate in rates.items()},
        )


def looked_up(images, folder, augment):
    """Lookups of a teacher's answers to plain and to mixed views."""
    teacher = Teacher(
        lambda pixels: tf.reshape(tf.image.resize(pixels, [8, 8]), [-1, 192]),
        fingerprint="pixels",
        embedding_dim=192,
        image_size=SIZE,
    )
    plain, mixed = (
        TeacherCache(
            teacher, images, folder, views=VIEWS, changes=ViewChanges(augment, mixup_alpha)
        )
        for mixup_alpha in (None, 1.0)
    )
    for cache in (plain, mixed):
        cache.fill()
    return {"teacher_embedding": plain.lookup, "mixed_teacher_embedding": mixed.lookup}


def input_pipeline(images, folder):
    pixels = PixelCache(images, folder, image_size=SIZE, views=VIEWS)
    pixels.fill()
    common = {"image_size": SIZE, "steps_per_epoch": 20, "views": VIEWS}
    decoding = drawer(training_batches(images, **common), 150)
    cached = drawer(training_batches(images, **common, cached_image=pixels.lookup), 1500)
    step = stepper(distiller(), one_batch())
    mixed = {"augment": "jitter,grey", "classes_per_batch": 4, "mixed_per_batch": BATCH // 2}
    mixed |= looked_up(images, folder, mixed["augment"])
    mixing = drawer(training_batches(images, **common, **mixed), 150)
    mixing_cached = drawer(
        training_batches(images, **common, **mixed, cached_image=pixels.lookup), 150
    )
    files = [(images.root / path).read_bytes() for path in images.paths]
    cv2.setNumThreads(1)

    def decode(part):
        return [
            cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR).shape for file in part
        ]

    def turbo():
        begun = time.perf_counter()
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            decoded = sum(map(len, pool.map(decode, [files[i::8] for i in range(8)])))
        return decoded / (time.perf_counter() - begun)

    step_rate, turbo_rate, *rates = by_turns(step, turbo, decoding, cached, mixing, mixing_cached)
    for how, rate in zip(("decoding", "image_cache"), rates, strict=False):
        report(f"input_vs_step_{how}", rate, step_rate)
        report(f"decode_vs_turbo_{how}", rate, turbo_rate)
    for how, rate in zip(("decoding", "image_cache"), rates[2:], strict=True):
        report(f"input_vs_step_mixed_{how}", rate, step_rate)


def memory(images):
    def megabytes():
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize() / 1e6

    model = distiller()
    iterator = iter(training_batches(images, image_size=SIZE, steps_per_epoch=20))
    for step in range(2000):
        if step == 200:
            early = megabytes()
        model.train_function(iterator)
    report("memory", megabytes(), early, unit="MB")


def profile(images):
    """Sums up a step's kernels, in ms of one core, by what they belong to."""
    steps = stepper(distiller(), training_batches(images, image_size=SIZE, steps_per_epoch=20))
    steps()
    with tempfile.TemporaryDirectory() as folder:
        tf.profiler.experimental.start(folder)
        steps()
        tf.profiler.experimental.stop()
        trace = next(Path(folder).rglob("*.xplane.pb")).read_bytes()
    space = xplane_pb2.XSpace.FromString(trace)
    totals = collections.Counter()
    for plane in space.planes:
        for line in plane.lines:
            for event in line.events:
                name = plane.event_metadata[event.metadata_id].name
                if group := group_of(name):
                    totals[group] += event.duration_ps / 1e9 / (STEPS + WARM_UP)
    for group, value in totals.most_common():
        report(f"profile_{group}", value, sum(totals.values()), unit="ms/step")


# Events of the profiler and of thread pools that are no kernels, or hold some.
_CONTAINERS = ("Process", "Run", "RunAsync", "Record", "StartRegion", "StopRegion")


def group_of(kernel):
    """What a kernel belongs to, by the path of its name; `None` for what contains kernels."""
    path, colon, operation = kernel.rpartition(":")
    if not colon or "::" in kernel or operation.split("#")[0] in _CONTAINERS:
        return None
    if any(word in operation for word in ("Jpeg", "ReadFile", "ScaleAndTranslate", "Resize")):
        return "decode"
    if "gradient_tape" in path or "Backprop" in operation or "Grad" in operation:
        return "backward"
    if "adam" in path.lower() or "optimizer" in path.lower():
        return "optimiser"
    return (
        "forward"
        if "distiller" in path.lower() or "functional" in path.lower()
        else "crops and batches"
    )


def main(_):
    cases = {
        "cached_vs_plain": lambda: against_plain(images, folder),
        "cached_vs_live_resnet101": lambda: against_live(images, folder),
        "plain_vs_torch": against_torch,
        "input_vs_step": lambda: input_pipeline(images, folder),
        "memory": lambda: memory(images),
        "profile": lambda: profile(images),
    }
    if unknown := set(CASES.value or ()) - cases.keys():
        raise app.UsageError(f"--cases: {', '.join(unknown)} unknown; {', '.join(cases)}.")
    images = read_folder(IMAGES.value) if IMAGES.value else load_dataset("glyphs").train
    with tempfile.TemporaryDirectory() as folder:
        for name in CASES.value or cases:
            cases[name]()


if __name__ == "__main__":
    app.run(main)
