"""Cost of search: exact, against FAISS' flat index, and with ScaNN, against exact.

    python benchmarks/retrieval.py
    python benchmarks/retrieval.py --cases=cost --plot=benchmarks/retrieval_cost.png

Purpose: the claims about search. Each side is a process of its own (search_peer.py), answers the
same question by turns with the others, on as many threads as there are cores, and the median is
kept; MB are beyond those of the vectors, libraries included.
  exact_vs_faiss   leave-one-out Recall@1…10 and @1…1000 of --vectors, in queries/s; building
                   included in `ratio_with_building`
  exact_memory     MB of exact search for that, against 2,000
  scann_vs_exact   the same questions, with ScaNN
  million          an index of --million vectors on disk: searched by ScaNN, against exact search of
                   the same sample of queries; seconds and MB to build it, MB on disk, seconds to
                   open it
  cost             ms a query and seconds to build, by size; with --plot=FILE also their plot
The vectors are generated: as many classes of 2 to 12 images as in the test split of Stanford Online
Products, in 12 categories, and about as hard to find.
Cost: about fifteen minutes on two cores, 6 GB of memory and 3 GB of disk.
Expected: see benchmarks/RESULTS.md.
"""

import contextlib
import functools
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from absl import app, flags

VECTORS = flags.DEFINE_integer("vectors", 60_502, "Vectors of the first three cases.")
DIM = flags.DEFINE_integer("dim", 512, "Their width.")
MILLION = flags.DEFINE_integer("million", 1_000_000, "Vectors, 128 wide, of the case million.")
SIZES = flags.DEFINE_list("sizes", "10000,100000,1000000", "Numbers of vectors of the case cost.")
QUERIES = flags.DEFINE_integer("queries", 2_000, "Queries of the cases million and cost.")
SINGLES = flags.DEFINE_integer("singles", 300, "Queries of the case one_by_one.")
ROUNDS = flags.DEFINE_integer("rounds", 3, "Turns of each side.")
CASES = flags.DEFINE_list("cases", "", "Cases to run; all if empty.")
PLOT = flags.DEFINE_string("plot", "", "File for the plot of the case cost; none if empty.")
NARROW = 128
# Of the test split of Stanford Online Products.
IMAGES, CLASSES, LARGEST, CATEGORIES = 60_502, 11_316, 12, 12
MEMORY_LIMIT = 2_000


def write_vectors(folder, rows, dim):
    """Writes `vectors.npy`, of length 1, and `labels.npy`; all of a class side by side."""
    rng = np.random.default_rng(0)
    classes = max(round(rows * CLASSES / IMAGES), 1)
    places = rng.choice(classes * (LARGEST - 2), rows - 2 * classes, replace=False)
    sizes = 2 + np.bincount(places // (LARGEST - 2), minlength=classes)
    labels = np.repeat(np.arange(classes), sizes)
    categories = 1.5 * rng.standard_normal((CATEGORIES, dim), np.float32)
    centres = categories[np.sort(rng.integers(0, CATEGORIES, classes))]
    centres += rng.standard_normal((classes, dim), np.float32)
    # As those of networks do, directions differ in weight; and some images are harder than others.
    weight = np.arange(1, dim + 1, dtype=np.float32) ** -0.8
    np.save(folder / "labels.npy", labels)
    shape = (rows, dim)
    vectors = np.lib.format.open_memmap(folder / "vectors.npy", "w+", np.float32, shape)
    for start in range(0, rows, 65_536):
        block = labels[start : start + 65_536]
        hardness = 0.6 * np.exp(0.5 * rng.standard_normal((len(block), 1), np.float32))
        noise = hardness * rng.standard_normal((len(block), dim), np.float32)
        made = (centres[block] + noise) * weight
        vectors[start : start + 65_536] = made / np.linalg.norm(made, axis=1, keepdims=True)
    vectors.flush()


@contextlib.contextmanager
def peer(name, folder):
    """A side: a function that asks it, and what it took to get ready."""
    command = [sys.executable, str(Path(__file__).with_name("search_peer.py")), name, str(folder)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:

        def answer():
            line = process.stdout.readline()
            if not line:
                sys.exit(f"{name} has failed; see above.")
            return json.loads(line)

        def ask(**question):
            process.stdin.write(json.dumps(question) + "\n")
            process.stdin.flush()
            return answer()

        yield ask, answer()
        process.stdin.close()


def report(case, value, against, unit, **more):
    line = {"benchmark": "retrieval", "case": case, "value": rounded(value), "unit": unit}
    line |= {"against": rounded(against), "ratio": rounded(value / against), **more}
    print(json.dumps(line), flush=True)


def rounded(value):
    return float(f"{value:.4g}")


def median(answers, name="seconds"):
    return statistics.median(answer[name] for answer in answers)


def by_turns(sides, **question):
    """The answers of each side to the same question."""
    rounds = [[ask(**question) for ask in sides] for _ in range(ROUNDS.value)]
    return zip(*rounds, strict=True)


def megabytes(folder):
    """MB of the vectors in a folder."""
    return np.load(folder / "vectors.npy", mmap_mode="r").nbytes / 1e6


def compare(case, left, right, queries, **more):
    """Reports one side's speed against another's, without building and with it."""
    (answers, built), (other_answers, other_built) = left, right
    seconds, others = median(answers), median(other_answers)
    total, other_total = seconds + built["seconds"], others + other_built["seconds"]
    report(
        case,
        queries / seconds,
        queries / others,
        "queries/s",
        **more,
        build_s=rounded(built["seconds"]),
        build_s_against=rounded(other_built["seconds"]),
        ratio_with_building=rounded(other_total / total),
        cpu_ratio=rounded(median(other_answers, "cpu_seconds") / median(answers, "cpu_seconds")),
    )


def leave_one_out(folder, cases):
    write_vectors(folder, VECTORS.value, DIM.value)
    with (
        peer("exact", folder) as (exact, exact_built),
        peer("faiss", folder) as (faiss, faiss_built),
        peer("scann", folder) as (scann, scann_built),
    ):
        for ks in ([1, 10], [1, 10, 100, 1000]):
            exactly, by_faiss, by_scann = map(list, by_turns([exact, faiss, scann], recall=ks))
            pairs = {
                "exact_vs_faiss": ((exactly, exact_built), (by_faiss, faiss_built)),
                "scann_vs_exact": ((by_scann, scann_built), (exactly, exact_built)),
            }
            for case, (left, right) in pairs.items():
                if case not in cases:
                    continue
                recall, other = left[0][-1]["recall"], right[0][-1]["recall"]
                difference = round(recall["1"] - other["1"], 4)
                more = {"k": ks[-1], "recall": recall, "recall_at_1_difference": difference}
                more["peak_mb"] = rounded(left[0][-1]["peak_mb"] - megabytes(folder))
                more["peak_mb_against"] = rounded(right[0][-1]["peak_mb"] - megabytes(folder))
                compare(f"{case}_k{ks[-1]}", left, right, VECTORS.value, **more)
        if "exact_memory" in cases:
            peak = exactly[-1]["peak_mb"] - megabytes(folder)
            report("exact_memory", peak, MEMORY_LIMIT, "MB")


def agreement(found, exact):
    """Share of the exact neighbours that were found."""
    return statistics.mean(
        len({*left} & {*right}) / len(right) for left, right in zip(found, exact, strict=True)
    )


@functools.cache
def build_million(folder):
    """Writes the index of the cases million and one_by_one; its folder, and what that took."""
    of_million = folder / "million"
    of_million.mkdir()
    write_vectors(of_million, MILLION.value, NARROW)
    with peer("build", of_million) as (_, built):
        return of_million, built


def million(folder):
    folder, built = build_million(folder)
    with (
        peer("exact", folder) as (exact, exact_built),
        peer("open", folder) as (opened, opening),
    ):
        answers, exactly = by_turns([opened, exact], queries=QUERIES.value, k=10)
    files = [path for path in (folder / "index").rglob("*") if not path.is_symlink()]
    compare(
        "million",
        (answers, opening | {"seconds": built["seconds"] + opening["seconds"]}),
        (exactly, exact_built),
        len(exactly[0]["found"]),
        vectors=MILLION.value,
        k=10,
        agreement=round(agreement(answers[0]["found"], exactly[0]["found"]), 4),
        open_s=rounded(opening["seconds"]),
        vectors_mb=rounded(megabytes(folder)),
        build_peak_mb=rounded(built["peak_mb"] - megabytes(folder)),
        search_peak_mb=rounded(answers[-1]["peak_mb"]),
        disk_mb=rounded(sum(path.stat().st_size for path in files) / 1e6),
    )


def one_by_one(folder):
    folder, _ = build_million(folder)
    with peer("exact", folder) as (exact, _), peer("open", folder) as (opened, _):
        answers, exactly = by_turns([opened, exact], queries=SINGLES.value, k=10, one_by_one=True)
    asked = len(exactly[0]["found"])
    seconds, others = median(answers), median(exactly)
    report(
        "one_by_one",
        asked / seconds,
        asked / others,
        "queries/s",
        vectors=MILLION.value,
        k=10,
        agreement=round(agreement(answers[0]["found"], exactly[0]["found"]), 4),
        cpu_ratio=rounded(median(exactly, "cpu_seconds") / median(answers, "cpu_seconds")),
    )


def cost(folder):
    costs = {"exact": [], "faiss": [], "scann": []}
    for size in map(int, SIZES.value):
        write_vectors(folder, size, NARROW)
        with contextlib.ExitStack() as stack:
            sides = [stack.enter_context(peer(name, folder)) for name in costs]
            rounds = by_turns([ask for ask, _ in sides], queries=QUERIES.value, k=10)
            for (name, points), (_, built), answers in zip(
                costs.items(), sides, rounds, strict=True
            ):
                answered = len(answers[0]["found"])
                points.append((size, median(answers) / answered * 1e3, built["seconds"]))
                exact = costs["exact"][-1]
                report(
                    f"cost_{name}_{size}",
                    points[-1][1],
                    exact[1],
                    "ms/query",
                    backend=name,
                    vectors=size,
                    build_s=rounded(built["seconds"]),
                    peak_mb=rounded(answers[-1]["peak_mb"] - megabytes(folder)),
                )
    if PLOT.value:
        draw(costs)


def draw(costs):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    panels = figure.subplots(1, 2)
    labels = {"exact": "exact", "faiss": "FAISS flat", "scann": "ScaNN"}
    for name, points in costs.items():
        sizes, searching, building = zip(*points, strict=True)
        panels[0].loglog(sizes, searching, "o-", label=labels[name], alpha=0.8)
        if name != "exact":  # which builds nothing
            panels[1].loglog(sizes, building, "o-", label=labels[name], alpha=0.8)
            panels[1].lines[-1].set_color(panels[0].lines[-1].get_color())
    panels[0].set(xlabel=f"vectors of {NARROW} dimensions", ylabel="ms a query, 10 neighbours")
    panels[1].set(xlabel=f"vectors of {NARROW} dimensions", ylabel="seconds to build")
    for axes in panels:
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(PLOT.value, dpi=120)


def main(_):
    together = ("exact_vs_faiss", "exact_memory", "scann_vs_exact")
    names = (*together, "million", "one_by_one", "cost")
    chosen = CASES.value or names
    if unknown := {*chosen} - {*names}:
        raise app.UsageError(f"--cases: {', '.join(unknown)} unknown; {', '.join(names)}.")
    runs = {"million": million, "one_by_one": one_by_one, "cost": cost}
    with tempfile.TemporaryDirectory() as folder:
        if any(name in chosen for name in together):
            leave_one_out(Path(folder), chosen)
        for name in chosen:
            if name in runs:
                runs[name](Path(folder))


if __name__ == "__main__":
    app.run(main)
