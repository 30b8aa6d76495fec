"""The grid of an ablation: variants of one training, seeds, and evaluations."""

import glob
import json
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_distill.errors import InputError
from keras_distill.publishing import published_file
from keras_distill.runs.directory import RunDirectory
from keras_distill.settings.ablation import AblateSettings
from keras_distill.settings.evaluation import evaluate_command, parse_ks, protocol_of
from keras_distill.settings.recipes import train_command
from keras_distill.settings.settings import Settings, fixed_values

# What a variant or an evaluation may not set, for the grid does.
_SET_BY_GRID = ("run_dir", "seed", "overwrite", "model", "json", "ks")
_DATA_FLAGS = ("dataset", "data_dir", "train_classes", "validation_classes", "test_classes")


@dataclass(frozen=True)
class Variant:
    """A training: its name, own arguments, all flags, those that name its data, and protocol."""

    name: str
    arguments: tuple[str, ...]
    flags: str
    data: tuple[str, ...]
    protocol: str


@dataclass(frozen=True)
class Evaluation:
    """A measurement: its name and its arguments."""

    name: str
    arguments: tuple[str, ...]


@dataclass(frozen=True)
class Run:
    """A training with one seed, and how it is measured.

    Args:
        base: Flag file of `keras_distill.train`.
        variant: What is trained.
        seed: Its seed.
        folder: Its run directory.
    """

    base: str
    variant: Variant
    seed: int
    folder: RunDirectory

    def train_command(self) -> list[str]:
        """Returns the command that trains, or resumes the training that was cut off."""
        command = [sys.executable, "-m", "keras_distill.train", f"--flagfile={self.base}"]
        own = [f"--seed={self.seed}", f"--run_dir={self.folder.path}"]
        return [*command, *self.variant.arguments, *own]

    def evaluate_command(self, evaluation: Evaluation) -> list[str]:
        """Returns the command that measures."""
        command = [sys.executable, "-m", "keras_distill.evaluate", f"--model={self.folder.path}"]
        json_file = f"--json={self.evaluation_file(evaluation)}"
        # An evaluation says itself what is degraded, also of a run that was trained so.
        return [*command, *self.variant.data, "--degrade=", *evaluation.arguments, json_file]

    def evaluation_file(self, evaluation: Evaluation) -> Path:
        """Returns where the figures of an evaluation are, once it is done."""
        return self.evaluations / f"{evaluation.name}.json"

    @property
    def log(self) -> Path:
        """What the training and the evaluations print."""
        return self.folder.path / "console.log"

    @property
    def evaluations(self) -> Path:
        """Folder of all figures."""
        return self.folder.path / "evaluations"


@dataclass(frozen=True)
class Grid:
    """What is trained, how often, and how it is measured."""

    base: str
    out: Path
    variants: tuple[Variant, ...]
    seeds: tuple[int, ...]
    evaluations: tuple[Evaluation, ...]

    @classmethod
    def of(cls, settings: AblateSettings, out: Path) -> "Grid":
        """Reads the grid from settings.

        Args:
            settings: The settings of `keras_distill.ablate`.
            out: Folder of all runs.

        Returns:
            The grid.

        Raises:
            InputError: If a flag, also one within a definition, cannot be used.
        """
        parse_ks(settings.ks)
        seeds = parse_seeds(settings.seeds)
        variants = [_variant(settings.base, text) for text in settings.variant]
        _check_names("variant", variants)
        evaluations = []
        for text in settings.evaluation or ("test:",):
            name, arguments = _split_definition("evaluation", text)
            evaluations.append(Evaluation(name, (*arguments, f"--ks={settings.ks}")))
            for variant in variants:
                _check_evaluation(text, arguments, variant)
        _check_names("evaluation", evaluations)
        return cls(settings.base, out, tuple(variants), tuple(seeds), tuple(evaluations))

    def runs(self) -> list[Run]:
        """Returns all runs, variants with their seeds."""
        return [
            Run(
                self.base,
                variant,
                seed,
                RunDirectory(self.out / "runs" / variant.name / str(seed)),
            )
            for variant in self.variants
            for seed in self.seeds
        ]

    def is_complete(self, run: Run) -> bool:
        """Whether a run was trained and measured."""
        files = [run.folder.summary, *map(run.evaluation_file, self.evaluations)]
        return all(file.exists() for file in files)

    def record(self) -> None:
        """Adds the definitions to `plan.json` of the folder, which may hold those of other calls.

        Trainings of a variant that has other settings now, and none of which is complete, are
        removed. Settings that are `free` may differ, as in `continuation`.

        Raises:
            InputError: If the same name stood for other settings.
        """
        path = self.out / "plan.json"
        plan = json.loads(path.read_text()) if path.exists() else {"variant": {}, "evaluation": {}}
        new = {
            "variant": {variant.name: variant.flags.splitlines() for variant in self.variants},
            "evaluation": {each.name: list(each.arguments) for each in self.evaluations},
        }
        results = {
            "variant": "runs/{}/*/summary.json",
            "evaluation": "runs/*/*/evaluations/{}.json",
        }
        stale = []
        for flag, definitions in new.items():
            for name, arguments in definitions.items():
                former = plan[flag].get(name, arguments)
                plan[flag][name] = arguments
                differs = former != arguments
                if flag == "variant":
                    differs = differs and _fixed_values(former) != _fixed_values(arguments)
                used = any(self.out.glob(results[flag].format(glob.escape(name))))
                if differs and used:
                    now = set(arguments) - set(former)
                    before = set(former) - set(arguments)
                    raise InputError(
                        f"--{flag}={name} was run with {' '.join(sorted(before)) or 'less'} before "
                        f"and now has {' '.join(sorted(now)) or 'less'}; give it another name, or "
                        "another --out, or --overwrite to begin again."
                    )
                if differs and flag == "variant":
                    stale.append(self.out / "runs" / name)
        for folder in stale:
            shutil.rmtree(folder, ignore_errors=True)
        with published_file(path) as temporary:
            temporary.write_text(json.dumps(plan, indent=2) + "\n")


def parse_seeds(value: str) -> list[int]:
    """Reads `--seeds`.

    Args:
        value: Such as `"0,1,2"`.

    Returns:
        The seeds, in their order.

    Raises:
        InputError: If it is anything else, or a seed is there twice.

    Example:
        >>> parse_seeds("3,1")
        [3, 1]
    """
    seeds = [int(part) if part.isdecimal() else -1 for part in value.split(",")]
    if min(seeds) < 0 or max(seeds) >= 2**32 or len(set(seeds)) < len(seeds):
        raise InputError(f"--seeds={value} must be different integers, such as 0,1,2.")
    return seeds


def _fixed_values(arguments: list[str]) -> dict[str, Any] | None:
    """The settings of a training; `None` if another version wrote what this one cannot read."""
    try:
        return fixed_values(train_command(arguments).parse(arguments))
    except InputError:
        return None


def _split_definition(flag: str, text: str) -> tuple[str, tuple[str, ...]]:
    name, colon, rest = text.partition(":")
    name = name.strip()
    if not colon or not name or "/" in name or name.startswith((".", "-")):
        raise InputError(
            f'--{flag}={text}: give "NAME: FLAGS", where NAME can be the name of a folder.'
        )
    try:
        return name, tuple(shlex.split(rest))
    except ValueError as error:
        raise InputError(f"--{flag}={text}: {error}.") from error


def _variant(base: str, text: str) -> Variant:
    name, own = _split_definition("variant", text)
    arguments = [f"--flagfile={base}", *own]
    command = train_command(arguments)
    try:
        settings = command.parse(arguments)
        _check_free(settings)
        settings.check()
    except InputError as error:
        raise InputError(f"--variant={text}: {error}") from error
    settings = settings.resolved()
    data = [f"--{flag}={value}" for flag in _DATA_FLAGS if (value := getattr(settings, flag, ""))]
    if getattr(settings, "strict_images", False):
        data.append("--strict_images")
    data += [
        f"--{flag}={getattr(settings, flag)}"
        for flag in ("max_pixels", "cache_dir")
        if flag in settings.given
    ]
    return Variant(name, own, command.text(settings), tuple(data), protocol_of(settings))


def _check_evaluation(text: str, arguments: tuple[str, ...], variant: Variant) -> None:
    command = evaluate_command()
    try:
        given = command.parse(arguments)
        _check_free(given)
        protocol = given.protocol or ("verification" if given.pairs else variant.protocol)
        if protocol == "retrieval":
            command.parse([*variant.data, *arguments]).check()
        else:  # whose data are described by more flags, which evaluations take from the run
            given.replace(protocol=protocol).check_protocol()
    except InputError as error:
        raise InputError(f"--evaluation={text}: for the variant {variant.name}, {error}") from error


def _check_free(settings: Settings) -> None:
    for name in _SET_BY_GRID:
        if name in settings.given:
            raise InputError(f"--{name} is set by the grid; leave it out.")


def _check_names(flag: str, definitions: list[Any]) -> None:
    names = [definition.name for definition in definitions]
    if not names:
        raise InputError(f'--{flag} is required, as "NAME: FLAGS".')
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"--{flag}={name}: there are several of this name.")
