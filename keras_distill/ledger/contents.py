"""Everything that a report says, as JSON holds it."""

import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import Any

import numpy as np

from keras_distill.data.image_set import ImageSet
from keras_distill.evaluation.metric_figures import by_measure, figures
from keras_distill.ledger.changed_queries import ChangedQueries, changed_queries
from keras_distill.ledger.embedding_map import embedding_maps
from keras_distill.ledger.ledger import Change, Ledger
from keras_distill.ledger.pair_distances import pair_distances
from keras_distill.ledger.step import Step
from keras_distill.retrieval.neighbours import agreement_of, sample_rows

SHOWN = 5  # neighbours of a query
_SAMPLES = 24
_MOST_PLACES = 1500
_MOST_KS = 100
_AGREEMENT_K = 10


def report_contents(ledger: Ledger, images: ImageSet, *, most_queries: int) -> dict[str, Any]:
    """Gathers what the ledger shows of the images.

    Args:
        ledger: The steps.
        images: The images that they measured.
        most_queries: Of each comparison, how many regressed and how many improved queries to list.

    Returns:
        Plain values. `steps`, each with the keys that `evaluate` writes, `before`, the number of
        the step that it was made of, its `change` from there, and `branch`, whether it leads off
        the chain; `total`, the change from the first to the last of the chain; `comparisons`, the
        regressed and improved queries between two steps, by row; `samples`, some queries at equal
        steps; `queries`, what each step answers to those; `map`; and `images`, path and class of
        every row that is named.
    """
    compared = [
        ((before, after), changed_queries(ledger.steps[before], ledger.steps[after]))
        for before, after in ledger.pairs
    ]
    samples = sample_rows(len(images), _SAMPLES)
    comparisons = [_comparison(pair, changed, most_queries) for pair, changed in compared]
    listed = chain(samples.tolist(), *(c["regressed"] + c["improved"] for c in comparisons))
    queries = {row: _answers(ledger.steps, row) for row in dict.fromkeys(listed)}
    places = _map(ledger)
    named = chain(queries, places["rows"], *(_rows_of(answer) for answer in queries.values()))
    return {
        "queries_in_all": len(images),
        "steps": [_step(ledger, number, images.class_names) for number in range(len(ledger.steps))],
        "total": change_figures(ledger.total) if ledger.last else None,
        "comparisons": comparisons,
        "samples": samples.tolist(),
        "queries": {str(row): answer for row, answer in queries.items()},
        "map": places,
        "images": {
            str(row): {
                "path": str(images.paths[row]),
                "class": images.class_names[images.labels[row]],
            }
            for row in sorted(set(named))
        },
    }


def rows_by_importance(contents: Mapping[str, Any]) -> list[int]:
    """Returns the rows that a report names, those first whose pictures it needs most.

    Args:
        contents: As of `report_contents`.

    Returns:
        Rows, each once: sample queries with their neighbours; then, of all comparisons at once, the
        changed queries from the worst on with theirs; then the places of the map.
    """
    queries = contents["queries"]
    lists = [c[kind] for kind in ("regressed", "improved") for c in contents["comparisons"]]
    worst_first = chain.from_iterable(_round_robin(lists))
    listed = chain(contents["samples"], worst_first)
    with_neighbours = ([row, *_rows_of(queries[str(row)])] for row in listed)
    rows = chain(chain.from_iterable(with_neighbours), contents["map"]["rows"])
    return list(dict.fromkeys(rows))


def change_figures(changes: Mapping[str, Change]) -> dict[str, Any]:
    """Returns changes as JSON holds them.

    Args:
        changes: The changes by measure.

    Returns:
        By measure `value`; `intervals_over` with `queries` and `classes`, what was resampled, each
        with `interval` and `beyond_noise`; and these two of the queries.
    """
    return by_measure({name: _change(change) for name, change in changes.items()})


def _change(change: Change) -> dict[str, Any]:
    over = {
        kind: {"interval": list(bounds), "beyond_noise": change.beyond_noise(kind)}
        for kind, bounds in change.intervals.items()
    }
    return {"value": change.value, **over["queries"], "intervals_over": over}


def _step(ledger: Ledger, number: int, class_names: tuple[str, ...]) -> dict[str, Any]:
    step = ledger.steps[number]
    before = ledger.before[number]
    change = ledger.changes[number]
    measured = figures(step.metrics, class_names)
    for entry, confused in zip(measured["per_class"], _confusions(step), strict=True):
        other = confused and {"class": class_names[confused[0]], "queries": confused[1]}
        entry["taken_for"] = other
    agreement = step.agreement
    return {
        "name": step.name,
        "model": step.model,
        "before": before,
        "branch": number > ledger.last,
        "queries": step.metrics.queries,
        "gallery": step.metrics.gallery,
        "protocol": "leave-one-out",
        "backend": step.backend,
        **measured,
        "recall_curve": _recall_curve(step),
        "change": None if change is None else change_figures(change),
        "compared_with_before": None if before is None else _compared(ledger.steps[before], step),
        "index": {
            "dim": int(step.vectors.shape[1]),
            "metric": "euclidean",
            "dtype": "float32",
            **step.settings,
            "agreement": agreement and {**vars(agreement)},
        },
        "lengths": [_number(length) for length in step.lengths],
        "seconds": step.cost.get("embedding_seconds"),
        "cost": dict(step.cost),
        "notes": step.notes,
        "distances": _distances(step),
    }


def _confusions(step: Step) -> Iterator[tuple[int, int] | None]:
    """For each class the one that its queries' first neighbour is of most often, if another."""
    labels, first = step.metrics.labels, step.neighbours[:, 0]
    for label in np.unique(labels):
        found = labels[first[(labels == label) & (first >= 0)]]
        others, counts = np.unique(found[found != label], return_counts=True)
        most = counts.argmax() if len(counts) else None
        yield None if most is None else (int(others[most]), int(counts[most]))


def _recall_curve(step: Step) -> dict[str, list[Any]]:
    depth = step.neighbours.shape[1]
    ks = np.unique(np.geomspace(1, depth, _MOST_KS).round().astype(int))
    first = step.first_match
    recall = [float(((first > 0) & (first <= k)).mean()) for k in ks]
    return {"k": ks.tolist(), "recall": recall}


def _compared(before: Step, after: Step) -> dict[str, Any]:
    """How much the lists and, at one width, the vectors of two steps are alike."""
    k = min(_AGREEMENT_K, before.neighbours.shape[1])
    share = agreement_of(after.neighbours[:, :k], before.neighbours[:, :k]).share
    cosine = None
    if before.vectors.shape[1] == after.vectors.shape[1]:
        products, *norms = (
            np.einsum("nd,nd->n", left, right, dtype=np.float64)
            for left, right in (
                (before.vectors, after.vectors),
                (before.vectors, before.vectors),
                (after.vectors, after.vectors),
            )
        )
        cosines = products / np.maximum(np.sqrt(norms[0] * norms[1]), np.finfo(float).tiny)
        cosines = cosines[np.isfinite(cosines)]
        if len(cosines):
            cosine = {"mean": float(cosines.mean()), "least": float(cosines.min())}
    return {"same_neighbours": {"k": k, "share": share}, "cosine": cosine}


def _distances(step: Step) -> dict[str, Any]:
    pairs = pair_distances(step.vectors, step.metrics.labels)
    return {
        "edges": pairs.edges.tolist(),
        "positive": pairs.positive.tolist(),
        "negative": pairs.negative.tolist(),
        "images": pairs.images,
        "overlap": pairs.overlap,
    }


def _comparison(pair: tuple[int, int], changed: ChangedQueries, most: int) -> dict[str, Any]:
    return {
        "from": pair[0],
        "to": pair[1],
        "regressed_count": len(changed.regressed),
        "improved_count": len(changed.improved),
        "both_right": changed.both_right,
        "both_wrong": changed.both_wrong,
        "regressed": changed.regressed[:most].tolist(),
        "improved": changed.improved[:most].tolist(),
    }


def _answers(steps: list[Step], row: int) -> dict[str, Any]:
    """What each step answers to a query."""
    return {
        "first_match": [int(step.first_match[row]) or None for step in steps],
        "average_precision": [_number(step.metrics.per_query["MAP@R"][row]) for step in steps],
        "neighbours": [
            [int(n) if n >= 0 else None for n in step.neighbours[row, :SHOWN]] for step in steps
        ],
        "distances": [[_number(d, 4) for d in step.distances[row, :SHOWN]] for step in steps],
    }


def _rows_of(answer: Mapping[str, Any]) -> list[int]:
    return [row for rows in answer["neighbours"] for row in rows if row is not None]


def _map(ledger: Ledger) -> dict[str, Any]:
    """The places of the images by each step that embeds; an index has the vectors of its model."""
    steps = ledger.steps
    embedding = [
        number
        for number, (before, step) in enumerate(zip(ledger.before, steps, strict=True))
        if before is None or step.vectors is not steps[before].vectors
    ]
    rows = sample_rows(len(steps[0].vectors), _MOST_PLACES)
    maps = embedding_maps([steps[number].vectors[rows] for number in embedding])
    return {
        "rows": rows.tolist(),
        "steps": [
            {
                "step": number,
                "variance": share,
                "places": [[_number(x, 4), _number(y, 4)] for x, y in places],
            }
            for number, (places, share) in zip(embedding, maps, strict=True)
        ],
    }


def _number(value: float, digits: int | None = None) -> float | None:
    """A number that JSON can hold."""
    value = float(value)
    if not math.isfinite(value):
        return None
    return value if digits is None else round(value, digits)


def _round_robin(lists: list[list[int]]) -> Iterable[list[int]]:
    """The first of each list, then the second of each, and so on."""
    longest = max(map(len, lists), default=0)
    for place in range(longest):
        yield [row for rows in lists for row in islice(rows, place, place + 1)]
