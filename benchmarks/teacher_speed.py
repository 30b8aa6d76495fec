"""How fast a teacher fills its cache, and what float16 and ONNX Runtime change in its answers.

    python benchmarks/teacher_speed.py
    python benchmarks/teacher_speed.py --teacher=runs/birds100_teacher --images=FOLDER

Purpose: a cache is filled at the teacher's own speed. MobileNetV2 at 224 pixels, in images/s:
  fill_keras_vs_predict    filling by Keras, against `model.predict` on batches that are ready
  fill_onnx_vs_predict     filling by ONNX Runtime, against the same
  fill_onnx_vs_onnx        filling by ONNX Runtime, against itself on batches that are ready
  onnx_vs_predict          ONNX Runtime, against `model.predict`, both on ready batches
  maps_onnx_vs_keras       the same with two feature maps
  float16_difference       cached embeddings, against those of Keras: largest difference relative
                           to the largest value; `against` is that of ONNX Runtime without float16
The sides are timed by turns, and the median is kept; the conversion is not counted, see `convert`.
Cost: about two minutes on two cores.
Expected: see benchmarks/RESULTS.md.
"""

import json
import statistics
import tempfile
import time

import numpy as np
import tensorflow as tf
from absl import app, flags

from keras_distill import build_embedder, load_dataset, load_teacher
from keras_distill.data.image_set import read_folder
from keras_distill.data.pipeline import view_batches
from keras_distill.teachers.cache import TeacherCache
from keras_distill.teachers.onnx_runner import OnnxRunner
from keras_distill.teachers.teacher import as_teacher

TEACHER = flags.DEFINE_string("teacher", "", "A .keras file; random weights if empty.")
IMAGES = flags.DEFINE_string("images", "", "Folder of photographs; the glyphs if empty.")
COUNT = flags.DEFINE_integer("count", 1024, "Images in a turn.")
ROUNDS = flags.DEFINE_integer("rounds", 2, "Turns.")
SIZE = flags.DEFINE_integer("size", 224, "Pixels a side, if the weights are random.")
BATCH = 64
LAYERS = ["block_6_expand_relu", "out_relu"]


def report(case, value, against, unit="images/s", **more):
    line = {"benchmark": "teacher_speed", "case": case, "value": float(f"{value:.4g}")}
    line |= {"unit": unit, "against": float(f"{against:.4g}")}
    line["ratio"] = round(float(value / against), 3)
    print(json.dumps(line | more), flush=True)


def seconds(function):
    begun = time.perf_counter()
    function()
    return time.perf_counter() - begun


def main(_):
    if TEACHER.value:
        teacher = load_teacher(TEACHER.value)
    else:
        teacher = as_teacher(
            build_embedder(
                "mobilenet_v2", image_size=SIZE.value, embedding_dim=0, backbone_weights="none"
            )
        )
    size = teacher.image_size
    images = read_folder(IMAGES.value) if IMAGES.value else load_dataset("glyphs").train
    images = images.select(np.linspace(0, len(images) - 1, COUNT.value).astype(int))
    ready = [x.numpy() for x, _ in view_batches(images, image_size=size, view=0, batch_size=BATCH)]
    dataset = tf.data.Dataset.from_generator(
        lambda: iter(ready), output_signature=tf.TensorSpec([None, size, size, 3], tf.uint8)
    ).apply(tf.data.experimental.assert_cardinality(len(ready)))
    with tempfile.TemporaryDirectory() as folder:
        measure(teacher, images, ready, dataset, folder)


def measure(teacher, images, ready, dataset, folder):
    caches = {
        runtime: TeacherCache(teacher, images, folder, views=ROUNDS.value + 1, runtime=runtime)
        for runtime in ("keras", "onnx")
    }
    convert = seconds(caches["onnx"].prepare)
    embed = OnnxRunner(lambda x: {"embedding": teacher(x)}, teacher.image_size)
    expected = teacher.owner.predict(dataset, verbose=0)
    exact = np.concatenate([embed(x)["embedding"] for x in ready])
    for cache in caches.values():
        cache.fill(1)

    filled = dict.fromkeys(caches, 1)

    def fill(runtime):
        filled[runtime] += 1
        caches[runtime].fill(filled[runtime])

    sides = {
        "predict": lambda: teacher.owner.predict(dataset, verbose=0),
        "fill_keras": lambda: fill("keras"),
        "onnx": lambda: [embed(x) for x in ready],
        "fill_onnx": lambda: fill("onnx"),
    }
    rates = by_turns(sides, len(images))
    report("fill_keras_vs_predict", rates["fill_keras"], rates["predict"])
    report(
        "fill_onnx_vs_predict",
        rates["fill_onnx"],
        rates["predict"],
        convert_s=round(convert, 1),
    )
    report("fill_onnx_vs_onnx", rates["fill_onnx"], rates["onnx"])
    report("onnx_vs_predict", rates["onnx"], rates["predict"])
    rows = np.arange(len(images))
    cached = caches["onnx"].lookup(rows, 0 * rows).numpy()
    largest = np.abs(expected).max()
    cosines = (cached * expected).sum(1) / np.linalg.norm(cached, axis=1)
    report(
        "float16_difference",
        np.abs(cached - expected).max() / largest,
        np.abs(exact - expected).max() / largest,
        unit="of the largest value",
        least_cosine=float((cosines / np.linalg.norm(expected, axis=1)).min()),
    )
    maps(teacher, ready)


def maps(teacher, ready):
    teacher.tap(LAYERS)

    def features(images):
        embedding, found = teacher.features(images)
        return {"embedding": embedding, **found}

    run, few = OnnxRunner(features, teacher.image_size), ready[:2]
    answers, expected = run(few[0]), features(few[0])
    differences = [
        np.abs(answers[name] - expected[name]).max() / np.abs(expected[name]).max()
        for name in expected
    ]
    sides = {
        "keras": lambda: [features(x) for x in few],
        "onnx": lambda: [run(x) for x in few],
    }
    rates = by_turns(sides, sum(map(len, few)))
    report(
        "maps_onnx_vs_keras",
        rates["onnx"],
        rates["keras"],
        difference=float(f"{max(differences):.2g}"),
    )


def by_turns(sides, count):
    """The median rate of each side, in images/s, measured by turns."""
    measured = {name: [] for name in sides}
    for _ in range(ROUNDS.value):
        for name, side in sides.items():
            measured[name].append(count / seconds(side))
    return {name: statistics.median(rates) for name, rates in measured.items()}


if __name__ == "__main__":
    app.run(main)
