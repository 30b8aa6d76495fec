"""Plants faults, one at a time, and counts those that the tests see.

A fault is a mutant of Cosmic Ray's: another operator, number or condition, a loop without a round,
a decorator that is gone; or a call or an assignment to an attribute that is left out. There is one
of each kind at each place. They come in a random order that stays the same, so that the first ones
are a sample however many they are, and what was found is kept in `.mutants`, from which the next
run goes on.

Loading TensorFlow takes longer than most tests. So this process loads it, and forks before anything
has run: the child puts a copy of the package with the fault in it first on its path and runs pytest
up to the first failure. The tests are those of the module's name, those that import the module, and
those of the modules that import it. Tests that start processes of their own are left out, because
each would load TensorFlow again: what is caught is caught by the quick ones.

    python tests/mutants.py --minutes=15
    python tests/mutants.py --only=losses/ --only=data/views.py
    python tests/mutants.py --again      those that survived, after tests have been written
"""

import argparse
import ast
import hashlib
import importlib
import json
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import tomllib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Operator
from cosmic_ray.operators.provider import OperatorProvider
from parso.python.tree import Keyword
from parso.tree import search_ancestor

SETTINGS = tomllib.loads(Path("pyproject.toml").read_text())["tool"]["mutants"]
PACKAGE, TESTS, MEMORY = Path(SETTINGS["package"]), Path("tests"), Path(".mutants")


class LeaveOut(Operator):
    """Leaves out a call for its effect, or an assignment that changes an object."""

    def mutation_positions(self, node):
        if node.type == "simple_stmt" and self._changes(node.children[0]):
            yield node.children[0].start_pos, node.children[0].end_pos

    def mutate(self, node, index):
        left_out = node.children[0]
        prefix = left_out.get_first_leaf().prefix
        node.children[0] = Keyword("pass", left_out.start_pos, prefix=prefix)
        return node

    @classmethod
    def examples(cls):
        return ()

    @staticmethod
    def _changes(statement):
        if statement.type in ("atom_expr", "power"):
            return statement.children[-1].type == "trailer"
        if statement.type != "expr_stmt":
            return False
        function = search_ancestor(statement, "funcdef")
        made = function is None or function.name.value == "__init__"  # would lack a name at once
        target, sign = statement.children[:2]
        augmented = sign.type == "operator" and len(sign.value) > 1
        return augmented or (target.type in ("atom_expr", "power") and not made)


# What would end in a TypeError at once is no fault that anyone makes.
ALIKE = ({"Add", "Sub", "Mul", "Div", "FloorDiv", "Mod", "Pow"}, {"BitAnd", "BitOr", "BitXor"})


def operators():
    for name in OperatorProvider():
        kind, *replaced = name.split("_")
        senseless = kind == "ReplaceBinaryOperator" and not any(
            alike.issuperset(replaced) for alike in ALIKE
        )
        if not senseless and not OperatorProvider()[name].arguments():
            yield name, OperatorProvider()[name]
    yield "LeaveOut", LeaveOut


OPERATORS = dict(operators())
# Here * and ** and / are no operators.
SIGNATURES = {"parameters", "param", "argument", "arglist", "star_expr", "lambdef"}


@dataclass(frozen=True)
class Mutant:
    key: str
    room: str
    module: Path
    operator: str
    occurrence: int
    line: int

    def source(self):
        return mutate_code(self.module.read_text(), OPERATORS[self.operator](), self.occurrence)

    def __str__(self):
        lines = self.module.read_text().splitlines()
        changed = [new for old, new in zip(lines, self.source().splitlines()) if old != new]  # noqa: B905
        was = lines[self.line - 1].strip()
        return f"{self.module}:{self.line}: {was}  ->  {(changed or [''])[0].strip()}"


def mutants(room, module):
    """One mutant of each kind at each place of a module that runs."""
    source = module.read_text()
    tree, silent = get_ast(source), list(types_alone(ast.parse(source)))
    chosen = {}
    for name, kind in OPERATORS.items():
        operator = kind()
        places = [(n, *p) for n in ast_nodes(tree) for p in operator.mutation_positions(n)]
        for occurrence, (node, start, end) in enumerate(places):
            if any(first <= start and end <= last for first, last in silent):
                continue
            if name.startswith("ReplaceBinary") and node.parent.type in SIGNATURES:
                continue
            told = json.dumps([str(module), source, name, occurrence])
            key = hashlib.blake2b(told.encode(), digest_size=8).hexdigest()
            place = name.partition("_")[0], start, end
            mutant = Mutant(key, room, module, name, occurrence, start[0])
            chosen[place] = min(mutant, chosen.get(place, mutant), key=lambda one: one.key)
    return chosen.values()


def types_alone(tree):
    """Where a module names types, which have no effect when it runs."""
    for node in ast.walk(tree):
        found = [getattr(node, "annotation", None), getattr(node, "returns", None)]
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation) == "TypeAlias":
            found.append(node.value)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            found.append(node)
        for one in filter(None, found):
            yield (one.lineno, one.col_offset), (one.end_lineno, one.end_col_offset)


def tests_of(module):
    """Test files that may notice a fault of a module, the nearest first."""
    files = sorted(TESTS.rglob("test_*.py"))
    rooms = {*SETTINGS["rooms"], *SETTINGS.get("tests_of", ())}
    files = [file for file in files if file.parts[1] in rooms]

    def importing(path, among):
        dotted = re.escape(".".join(path.with_suffix("").parts))
        parent, _, name = ".".join(path.with_suffix("").parts).rpartition(".")
        pattern = re.compile(rf"\b{dotted}\b|from {re.escape(parent)} import .*\b{name}\b")
        return [file for file in among if pattern.search(file.read_text())]

    def named_after(path):
        inner = path.relative_to(PACKAGE)
        return [f for f in files if f == TESTS / inner.parent / f"test_{inner.name}"]

    users = importing(module, sorted(PACKAGE.rglob("*.py")))
    examples = SETTINGS.get("examples")
    nearest = [
        *named_after(module),
        *([examples.format(".".join(module.with_suffix("").parts))] if examples else ()),
        *importing(module, files),
    ]
    return list(dict.fromkeys([*nearest, *(f for user in users for f in named_after(user))]))


class Watcher:
    """A plugin of pytest's: leaves out the tests that start processes, and tells what failed."""

    def __init__(self):
        self.failed = None

    def pytest_collection_modifyitems(self, items):
        apart = set(SETTINGS.get("processes", ()))
        items[:] = [item for item in items if not apart & set(item.fixturenames)]

    def pytest_runtest_logreport(self, report):
        if report.failed and self.failed is None:
            self.failed = report.nodeid


def run(arguments, mutant=None):
    """Runs tests in a fork; returns pytest's exit code, or what ended it, and what failed."""
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder, "told.json")
        child = os.fork()
        if not child:
            try:
                test(arguments, mutant, Path(folder), told)
            finally:
                os._exit(99)
        limit = time.monotonic() + 10 * SETTINGS["seconds"]
        ended = 0
        while not ended:
            ended, status = os.waitpid(child, os.WNOHANG)
            if not ended and time.monotonic() > limit:
                os.kill(child, signal.SIGKILL)
            time.sleep(0.05)
        if os.WIFSIGNALED(status) or not told.exists():
            return "killed", None
        return json.loads(told.read_text())


def test(arguments, mutant, folder, told):
    os.setpgid(0, 0)
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    resource.setrlimit(resource.RLIMIT_CPU, (SETTINGS["seconds"],) * 2)
    if mutant is not None:
        shutil.copytree(PACKAGE, folder / PACKAGE)
        copy = folder / mutant.module
        copy.write_text(mutant.source())
        for compiled in (copy.parent / "__pycache__").glob(f"{copy.stem}.*.pyc"):
            compiled.unlink()
    sys.path.insert(0, str(folder if mutant else Path.cwd()))
    os.environ["PYTHONPATH"] = sys.path[0]
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    watcher = Watcher()
    options = ["-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist"]
    code = pytest.main([*options, *map(str, arguments)], [watcher])
    told.write_text(json.dumps([int(code), watcher.failed]))
    os._exit(0)


class Results:
    """What was found, a line of JSON each, the last one of a mutant counts."""

    def __init__(self, file):
        self._file = file
        file.parent.mkdir(exist_ok=True)
        file.touch()
        lines = map(json.loads, file.read_text().splitlines())
        self.found = {line["key"]: line["found"] for line in lines}

    def add(self, key, found):
        self.found[key] = found
        with self._file.open("a") as file:
            file.write(json.dumps({"key": key, "found": found}) + "\n")


def try_out(mutant, sound):
    """Whether the tests see a mutant: "survived", or what has caught it."""
    tests = tests_of(mutant.module)
    if not tests:
        return "survived"
    code, failed = run(tests, mutant)
    if code in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        return "survived"
    # What fails without a fault, too, has caught nothing.
    arguments = [failed] if failed else [*tests, *["--collect-only"] * (code != "killed")]
    if str(arguments) not in sound:
        without, _ = run(arguments)
        if without != pytest.ExitCode.OK:
            told = f"{' '.join(map(str, arguments))} ends with {without} without a fault, too"
            sys.exit(f"{told}; mend that, or raise `seconds` in pyproject.toml.")
        sound.add(str(arguments))
    return failed or ("killed by time or a crash" if code == "killed" else "cannot be loaded")


def report(every, found):
    survivors = [one for one in every if found.get(one.key) == "survived"]
    for one in sorted(survivors, key=lambda one: (str(one.module), one.line)):
        print(f"survived: {one}")
    print(f"\n{'room':12} {'mutants':>8} {'tried':>6} {'caught':>7}  share")
    tried = Counter(one.room for one in every if one.key in found)
    missed = Counter(one.room for one in survivors)
    for room in [*SETTINGS["rooms"], "all"]:
        is_all = room == "all"
        count = tried.total() if is_all else tried[room]
        caught = count - (missed.total() if is_all else missed[room])
        total = sum(is_all or one.room == room for one in every)
        share = f"{caught / count:6.1%}" if count else "     -"
        print(f"{room:12} {total:8} {count:6} {caught:7} {share}")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=15.0, help="stop after so many; 15")
    parser.add_argument("--count", type=int, help="stop after so many mutants")
    parser.add_argument("--only", action="append", default=[], help="part of a module's path")
    parser.add_argument("--again", action="store_true", help="try those that survived again")
    options = parser.parse_args()
    end = time.monotonic() + 60 * options.minutes
    every = [
        mutant
        for room, patterns in SETTINGS["rooms"].items()
        for module in sorted({file for pattern in patterns for file in PACKAGE.glob(pattern)})
        if any(part in str(module) for part in options.only or [""])
        for mutant in mutants(room, module)
    ]
    every.sort(key=lambda one: one.key)
    results, sound = Results(MEMORY / "results.jsonl"), set()
    wanted = (None, "survived")[options.again]
    waiting = [one for one in every if results.found.get(one.key) == wanted][: options.count]
    for name in SETTINGS.get("preload", ()):
        importlib.import_module(name)
    for number, mutant in enumerate(waiting, start=1):
        if time.monotonic() > end:
            break
        found = try_out(mutant, sound)
        results.add(mutant.key, found)
        print(f"{number}/{len(waiting)} {found}: {mutant}", flush=True)
    report(every, results.found)


if __name__ == "__main__":
    for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ.setdefault(name, "1")
    main()
