"""Model card of an exported model, for people."""

from collections.abc import Mapping
from typing import Any

CARD_FILE = "MODEL_CARD.md"
_NAMED = 100  # classes; distill.json has all
_VERSIONS = "\n\nVectors of two versions cannot be compared: an index belongs to one version."
_COSINE = "Least cosine with the Keras model's embeddings"
_CLOSENESS = (
    "How close each output is to the Keras model's at least: the cosine of embeddings; of others 1 "
    "minus the\nlargest difference, relative to the largest value"
)


def model_card(facts: Mapping[str, Any]) -> str:
    """Writes a model card; what is unknown is called unknown.

    Args:
        facts: What `bundle_facts` returns.

    Returns:
        Markdown.
    """
    name, version = facts["name"], facts["version"]
    embeds = "embedding" in facts
    command, out = ("embed", "vectors.npz") if embeds else ("predict", "answers.npz")
    if any("labels" in output for output in facts.get("outputs", {}).values()):
        out += f" \\\n    --labels=models/{name}/{version}"
    return f"""# {name}, version {version}

{_introduction(facts)}

| | |
|---|---|
| Parameters | {facts["parameters"]:,} |
| Size on disk | {facts["bytes"] / 1e6:.2f} MB |
| Exported | {facts["created"]} from {_or_unknown(facts["model"])} |
| Batching | {_batching(facts["batching"])} |
{_mirror(facts)}{_embedder(facts)}| Libraries | {_libraries(facts["libraries"])} |

## Data and training

| | |
|---|---|
| Data | {_or_unknown(facts["data"])} |
| Training classes | {_classes(facts["training_classes"])} |
| Licence of the data | {facts["data_licence"] or "not stated"} |
{_training(facts["training"])}
{_recall_section(facts)}{_verification_section(facts)}## Use

| Signature | Input |
|---|---|
{_signatures(facts["signatures"])}
{facts["image"]["preprocessing"]}

```sh
docker compose -f serving/docker-compose.yml up --wait
python -m keras_distill.client smoke --model={name} --golden=models/{name}/{version}
python -m keras_distill.client {command} --model={name} --images=photos --out={out}
```{_VERSIONS if embeds else ""}

## Checks before it was published

{_COSINE if embeds else _CLOSENESS}, of {facts["checks"]["images"]}:

| | |
|---|---|
{_cosines(facts["checks"]) if embeds else _closeness(facts["checks"])}
Every input is checked by the first operation, nothing needs XLA, all is computed in float32, and
each output has a row for each image. The warm-up requests have been answered. `assets.extra/golden`
has requests with their answers; they show {facts["golden"]}.

```sh
sha256sum --check SHA256SUMS
python -m keras_distill.export --check=.
```
"""


def _introduction(facts: Mapping[str, Any]) -> str:
    size = facts["image"]["size"]
    if "embedding" in facts:
        return (
            f"An image embedder: {size} × {size} pixels in, a float32 vector of "
            f"{facts['embedding']['dim']} numbers and length 1 out.\n"
            "Images are alike where the Euclidean distance of their vectors is small."
        )
    rows = [
        f"| `{name}` | float32 `({_sizes(output['shape'])})`"
        f"{', vectors of length 1' if 'length' in output else ''} |"
        for name, output in facts["outputs"].items()
    ]
    return "\n".join(
        [
            f"A model of images: {size} × {size} pixels in, these outputs out, a row an image:",
            *("", "| Output | Values |", "|---|---|", *rows),
            *_labels(facts["outputs"]),
        ]
    )


def _labels(outputs: Mapping[str, Any]) -> list[str]:
    """What the labels of each output are, a paragraph each."""
    paragraphs = []
    for name, output in outputs.items():
        if "labels" in output:
            limits = "0.5" if output["thresholds"] is None else "thresholds in `distill.json`"
            paragraphs += [
                "",
                f"The {output['activation']} of `{name}` is the probability of each label, which "
                f"counts as present from {limits}: {_listed(output['labels'])}.",
            ]
    return paragraphs


def _sizes(shape: list[int | None]) -> str:
    return ", ".join("n" if size is None else str(size) for size in shape)


def _libraries(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _embedder(facts: Mapping[str, Any]) -> str:
    if "embedding" not in facts:
        return ""
    return f"| Embedder | {_or_unknown(facts['embedder'])} |\n"


def _mirror(facts: Mapping[str, Any]) -> str:
    if not facts["mirror"]:
        return ""
    return "| Mirror averaging | the mean over an image and its mirror image, in twice the time |\n"


def _recall_section(facts: Mapping[str, Any]) -> str:
    """Recall is of embeddings; other models have none, which needs no mention."""
    if "embedding" not in facts and not facts["recall"]:
        return ""
    return f"## Recall\n\n{_recall(facts['recall'])}\n"


def _verification_section(facts: Mapping[str, Any]) -> str:
    """Which similarity means the same, if that was measured."""
    known = facts["verification"]
    if not known:
        return ""
    name, version, calibration = facts["name"], facts["version"], known["calibration"]
    figures = {"accuracy": known["figures"]["accuracy"]}
    figures |= {f"TAR at FAR {far}": tar for far, tar in known["figures"]["tar_at_far"].items()}
    cells = ["not measurable" if value is None else f"{value:.4f}" for value in figures.values()]
    lines = [
        "## Which similarity means the same",
        "",
        f"Measured on {known['same_pairs']:,} same and {known['different_pairs']:,} different "
        f"pairs of {known['data']}:",
        "",
        "| Figure | Value |\n|---|---|",
        *(f"| {figure} | {cell} |" for figure, cell in zip(figures, cells, strict=True)),
        "",
        "| Cosine from | Distance to | Same pairs found | Different pairs accepted | Precision |",
        "|---|---|---|---|---|",
        *(
            f"| {row['cosine']:.2f} | {row['distance']:.3f} | {row['recall']:.4f} | "
            f"{row['false_acceptance']:.2g} | "
            f"{'-' if row['precision'] is None else format(row['precision'], '.4f')} |"
            for row in calibration["thresholds"]
        ),
        "",
        "The probability that two images show the same is "
        f"1 / (1 + exp(-({calibration['slope']:.4g} · cosine {calibration['intercept']:+.4g}))).",
        "It and the precision suppose that same and different pairs are equally frequent.",
        "",
        f"```sh\npython -m keras_distill.client match A.jpg B.jpg --model={name} "
        f"--calibration=models/{name}/{version}\n```",
        "",
        "",
    ]
    return "\n".join(lines)


def _or_unknown(value: Any) -> Any:
    return "unknown" if value is None else value


def _batching(batching: Mapping[str, Any]) -> str:
    if batching["where"] == "none":
        return "each request by itself"
    most, wait = max(batching["allowed_batch_sizes"]), batching["batch_timeout_micros"] / 1000
    return (
        f"in the graph: up to {most} images of concurrent requests, which wait {wait:g} ms at most"
    )


def _classes(names: list[str] | None) -> str:
    if not names:
        return "unknown"
    return f"{len(names)}: {_listed(names).replace('|', '/')}"


def _listed(names: list[str]) -> str:
    more = f", and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}"


def _training(training: Mapping[str, Any] | None) -> str:
    if training is None:
        return "| Training | unknown |\n"
    return "".join(f"| {key.replace('_', ' ')} | {value} |\n" for key, value in training.items())


def _recall(results: list[Mapping[str, Any]]) -> str:
    if not results:
        return "Unknown: no result of `python -m keras_distill.evaluate` was at hand.\n"
    ks = sorted({k for result in results for k in result["recall"]}, key=int)
    lines = [
        f"| Data | Split | Queries | {' | '.join(f'R@{k}' for k in ks)} |",
        "|---" * (3 + len(ks)) + "|",
    ]
    for result in results:
        values = (result["recall"].get(k) for k in ks)
        cells = ["" if value is None else f"{value:.4f}" for value in values]
        whole = [_or_unknown(result.get(key)) for key in ("data", "split", "queries")]
        lines.append(f"| {' | '.join(map(str, [*whole, *cells]))} |")
    return "\n".join(lines) + "\n"


def _signatures(signatures: Mapping[str, Any]) -> str:
    lines = []
    for name, signature in signatures.items():
        for key, tensor in signature["inputs"].items():
            shape = _sizes(tensor["shape"])
            lines.append(f"| `{name}` | `{key}`: {tensor['dtype']} `({shape})` |\n")
    return "".join(lines)


def _cosines(checks: Mapping[str, Any]) -> str:
    rows = dict(checks["least_cosine"])
    if checks["least_cosine_as_trained"] is not None:
        rows[f"the model as trained, {checks['trained_in']}"] = checks["least_cosine_as_trained"]
    return "".join(f"| {name} | {cosine:.6f} |\n" for name, cosine in rows.items())


def _closeness(checks: Mapping[str, Any]) -> str:
    rows = {
        f"`{output}`, {signature}": value
        for output, by_signature in checks["closeness"].items()
        for signature, value in by_signature.items()
    }
    for output, value in (checks["closeness_as_trained"] or {}).items():
        rows[f"`{output}`, the model as trained, {checks['trained_in']}"] = value
    return "".join(f"| {name} | {value:.6f} |\n" for name, value in rows.items())
