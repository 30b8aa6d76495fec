"""Contents of a report, as plain values for JSON."""

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
from keras_distill.ledger.stage import LedgerStage
from keras_distill.retrieval.neighbours import agreement_of, sample_rows

SHOWN = 5  # neighbours of a query
_SAMPLES = 24
_MOST_PLACES = 1500
_MOST_KS = 100
_AGREEMENT_K = 10


def report_contents(ledger: Ledger, images: ImageSet, *, most_queries: int) -> dict[str, Any]:
    """Gathers the contents of a report from a ledger.

    Args:
        ledger: The ledger.
        images: The images that it was measured on.
        most_queries: Maximum number of regressed, and of improved, queries to list for each
            comparison.

    Returns:
        Plain values. `steps`, the stages, each with the keys that `evaluate` writes, `before` (the
        number of the stage it was made from), its `change` from there, and `branch` (whether it is
        off the chain); `total`, the change from the first to the last stage of the chain;
        `comparisons`, the regressed and improved queries between two stages, by row; `samples`,
        some evenly spaced queries; `queries`, the neighbours that each stage found for all of
        these; `map`; and `images`, path and class of every row that is named.
    """
    compared = [
        ((before, after), changed_queries(ledger.stages[before], ledger.stages[after]))
        for before, after in ledger.pairs
    ]
    samples = sample_rows(len(images), _SAMPLES)
    comparisons = [_comparison(pair, changed, most_queries) for pair, changed in compared]
    listed = chain(samples.tolist(), *(c["regressed"] + c["improved"] for c in comparisons))
    queries = {row: _answers(ledger.stages, row) for row in dict.fromkeys(listed)}
    places = _map(ledger)
    named = chain(queries, places["rows"], *(_rows_of(answer) for answer in queries.values()))
    return {
        "queries_in_all": len(images),
        "steps": [
            _stage(ledger, number, images.class_names) for number in range(len(ledger.stages))
        ],
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
    """Returns the rows that a report names, by how much it needs their pictures.

    Args:
        contents: The contents, see `report_contents`.

    Returns:
        Rows, each once: sample queries with their neighbours; then the changed queries of all
        comparisons, worst first, with their neighbours; then the points of the map.
    """
    queries = contents["queries"]
    lists = [c[kind] for kind in ("regressed", "improved") for c in contents["comparisons"]]
    worst_first = chain.from_iterable(_round_robin(lists))
    listed = chain(contents["samples"], worst_first)
    with_neighbours = ([row, *_rows_of(queries[str(row)])] for row in listed)
    rows = chain(chain.from_iterable(with_neighbours), contents["map"]["rows"])
    return list(dict.fromkeys(rows))


def change_figures(changes: Mapping[str, Change]) -> dict[str, Any]:
    """Returns changes as plain values for JSON.

    Args:
        changes: The changes by measure.

    Returns:
        For each measure, `value`; `intervals_over` by the resampled unit, `queries` and `classes`,
        each with `interval` and `beyond_noise`; and these two keys again, over queries.
    """
    return by_measure({name: _change(change) for name, change in changes.items()})


def _change(change: Change) -> dict[str, Any]:
    over = {
        kind: {"interval": list(bounds), "beyond_noise": change.beyond_noise(kind)}
        for kind, bounds in change.intervals.items()
    }
    return {"value": change.value, **over["queries"], "intervals_over": over}


def _stage(ledger: Ledger, number: int, class_names: tuple[str, ...]) -> dict[str, Any]:
    stage = ledger.stages[number]
    before = ledger.before[number]
    change = ledger.changes[number]
    measured = figures(stage.metrics, class_names)
    for entry, confused in zip(measured["per_class"], _confusions(stage), strict=True):
        other = confused and {"class": class_names[confused[0]], "queries": confused[1]}
        entry["taken_for"] = other
    agreement = stage.agreement
    return {
        "name": stage.name,
        "model": stage.model,
        "before": before,
        "branch": number > ledger.last,
        "queries": stage.metrics.queries,
        "gallery": stage.metrics.gallery,
        "protocol": "retrieval",
        "leave_one_out": True,
        "backend": stage.backend,
        **measured,
        "recall_curve": _recall_curve(stage),
        "change": None if change is None else change_figures(change),
        "compared_with_before": None if before is None else _compared(ledger.stages[before], stage),
        "index": {
            "dim": int(stage.vectors.shape[1]),
            "metric": "euclidean",
            "dtype": "float32",
            **stage.settings,
            "agreement": agreement and {**vars(agreement)},
        },
        "lengths": [_number(length) for length in stage.lengths],
        "seconds": stage.cost.get("embedding_seconds"),
        "cost": dict(stage.cost),
        "notes": stage.notes,
        "distances": _distances(stage),
    }


def _confusions(stage: LedgerStage) -> Iterator[tuple[int, int] | None]:
    """For each class, the other class that its queries' first neighbour has most often, if any."""
    labels, first = stage.metrics.labels, stage.neighbours[:, 0]
    for label in np.unique(labels):
        found = labels[first[(labels == label) & (first >= 0)]]
        others, counts = np.unique(found[found != label], return_counts=True)
        most = counts.argmax() if len(counts) else None
        yield None if most is None else (int(others[most]), int(counts[most]))


def _recall_curve(stage: LedgerStage) -> dict[str, list[Any]]:
    depth = stage.neighbours.shape[1]
    ks = np.unique(np.geomspace(1, depth, _MOST_KS).round().astype(int))
    first = stage.first_match
    recall = [float(((first > 0) & (first <= k)).mean()) for k in ks]
    return {"k": ks.tolist(), "recall": recall}


def _compared(before: LedgerStage, after: LedgerStage) -> dict[str, Any]:
    """How similar the neighbours and, if of one width, the vectors of two stages are."""
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


def _distances(stage: LedgerStage) -> dict[str, Any]:
    pairs = pair_distances(stage.vectors, stage.metrics.labels)
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


def _answers(stages: list[LedgerStage], row: int) -> dict[str, Any]:
    """The neighbours that each stage finds for a query."""
    return {
        "first_match": [int(stage.first_match[row]) or None for stage in stages],
        "average_precision": [_number(stage.metrics.per_query["MAP@R"][row]) for stage in stages],
        "neighbours": [
            [int(n) if n >= 0 else None for n in stage.neighbours[row, :SHOWN]] for stage in stages
        ],
        "distances": [[_number(d, 4) for d in stage.distances[row, :SHOWN]] for stage in stages],
    }


def _rows_of(answer: Mapping[str, Any]) -> list[int]:
    return [row for rows in answer["neighbours"] for row in rows if row is not None]


def _map(ledger: Ledger) -> dict[str, Any]:
    """The map of each stage that embeds; an index has the vectors of its model."""
    stages = ledger.stages
    embedding = [
        number
        for number, (before, stage) in enumerate(zip(ledger.before, stages, strict=True))
        if before is None or stage.vectors is not stages[before].vectors
    ]
    rows = sample_rows(len(stages[0].vectors), _MOST_PLACES)
    maps = embedding_maps([stages[number].vectors[rows] for number in embedding])
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
