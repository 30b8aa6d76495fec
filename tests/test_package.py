import ast
import graphlib
import importlib.metadata
import re
from pathlib import Path

import pytest

import keras_distill

FOLDER = Path(keras_distill.__file__).parent

# A module imports from floors below its own and from its own room. What stands at the top of the
# package is the room "commands", except for what stands on the ground.
GROUND = {"errors", "publishing", "native_log"}
FLOORS = {
    "ground": 0,
    "data": 1,
    "distribution": 1,
    "losses": 1,
    "models": 1,
    "diagnosis": 2,
    "retrieval": 2,
    "teachers": 2,
    "evaluation": 5,
    "embedding": 4,
    "methods": 4,
    "selection": 5,
    "settings": 4,
    "runs": 5,
    "ledger": 6,
    "serving": 6,
    "training": 6,
    "recipes": 7,
    "ablation": 8,
    "demo": 8,
    "commands": 9,
}


def all_modules():
    for path in sorted(FOLDER.rglob("*.py")):
        parts = path.relative_to(FOLDER).with_suffix("").parts
        if parts != ("__init__",):
            yield ".".join(parts).removesuffix(".__init__"), path


MODULES = dict(all_modules())


def room(module):
    first, _, rest = module.partition(".")
    if rest or MODULES[module].name == "__init__.py":
        return first
    return "ground" if first in GROUND else "commands"


def imports(module):
    """The modules of the package that a module imports, wherever in its text."""
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            top, _, inner = name.partition(".")
            if top == "keras_distill" and inner != "__version__":
                yield inner if inner in MODULES else inner.rpartition(".")[0]


@pytest.mark.parametrize("module", MODULES)
def test_imports_come_from_below(module):
    for imported in imports(module):
        assert imported in MODULES, f"{module} imports from the public face {imported!r}"
        above = FLOORS[room(imported)] >= FLOORS[room(module)]
        assert room(imported) == room(module) or not above, f"{module} imports {imported}"


def test_no_module_imports_itself_in_a_circle():
    order = graphlib.TopologicalSorter({module: set(imports(module)) for module in MODULES})
    assert set(order.static_order()) == set(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_modules_have_telling_names(module):
    assert not {"utils", "helpers", "common", "misc"} & set(module.split("."))


def test_first_lines_name_the_modules():
    for module, path in MODULES.items():
        line = ast.get_docstring(ast.parse(path.read_text())).splitlines()[0]
        assert line.split()[0] not in {"What", "Which", "Whether", "How"}, f"{module}: {line}"


# Rooms that deal in flags, and modules that quote flag files or print command lines.
OF_FLAGS = {"commands", "settings", "demo", "ablation", "diagnosis"}
QUOTING = {"runs.settings", "runs.checkpoints", "serving.export.model_card"}
OF_TF_SERVING = {
    "--grpc_max_threads",
    "--model_config_file",
    "--model_name",
    "--monitoring_config_file",
}


def messages(module):
    """The texts of a module that are not documentation, with X for what is filled in."""
    tree = ast.parse(MODULES[module].read_text())
    passed = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if id(node) in passed:
            continue
        if isinstance(node, ast.JoinedStr):
            passed |= {id(part) for part in node.values}
            parts = [each.value if isinstance(each, ast.Constant) else "X" for each in node.values]
            yield "".join(parts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_messages_below_the_commands_name_arguments():
    for module in set(MODULES) - QUOTING:
        if room(module) not in OF_FLAGS:
            for text in messages(module):
                without_commands = re.sub("`[^`]*`", "", text)
                flags = set(re.findall("(?<![a-z-])--[a-z_]{2,}", without_commands))
                assert flags <= OF_TF_SERVING, f"{module}: {text!r}"


def test_the_root_holds_commands_and_the_ground_only():
    assert len(list(FOLDER.glob("*.py"))) <= 18
    for module, path in MODULES.items():
        if room(module) == "commands" and module != "__main__":
            assert 'if __name__ == "__main__":' in path.read_text(), module
            # Docstring, settings and main; procedures are in the rooms below.
            assert len(path.read_text().splitlines()) <= 125, module


# Longer, or with more parameters, than the others, for a reason; the list may only shrink.
EXCEPTIONS = {
    "data.label_batches.label_batches": "public; its inputs are those of a batch",
    "data.pipeline.training_batches": "public; its inputs are those of a batch",
    "data.readable_images.drop_unreadable": "one loop with its report",
    "losses.labels.partial_selective_loss.PartialSelectiveLoss.__init__": (
        "public; one parameter a term of the formula"
    ),
    "serving.client.settings.ClientSettings.__init__": "public; one parameter an option of a call",
    "training.resumable_callbacks.ResumableCallbacks.__init__": "public; one parameter an option",
}


def functions(module):
    """The functions of a module by name, with their lines and parameters."""
    queue = [("", node) for node in ast.parse(MODULES[module].read_text()).body]
    while queue:
        prefix, node = queue.pop()
        if isinstance(node, ast.ClassDef):
            queue += [(f"{prefix}{node.name}.", inner) for inner in node.body]
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            taken = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
            count = sum(argument.arg not in ("self", "cls") for argument in taken)
            yield f"{module}.{prefix}{node.name}", node.end_lineno - node.lineno + 1, count


def test_functions_are_short():
    large = {
        name
        for module in MODULES
        for name, lines, parameters in functions(module)
        if lines > 80 or parameters > 10
    }
    assert large == set(EXCEPTIONS)


def test_import_is_light(run_python):
    code = """
import sys
import keras_distill
import keras_distill.cache, keras_distill.client, keras_distill.evaluate
import keras_distill.doctor, keras_distill.embed, keras_distill.embed_beam, keras_distill.export
import keras_distill.index, keras_distill.report, keras_distill.select, keras_distill.serve
import keras_distill.train
print(sorted({"tensorflow", "keras", "numpy", "scann"} & set(sys.modules)))
print(sorted(set(keras_distill.__all__) - set(dir(keras_distill))))
"""
    assert run_python(code).splitlines() == ["[]", "[]"]


@pytest.mark.parametrize("name", keras_distill.__all__)
def test_public_name(name):
    value = getattr(keras_distill, name)
    assert value.__name__ == name
    assert value.__module__ == f"keras_distill.{keras_distill._HOME_OF[name]}"
    assert value.__doc__


def test_unknown_name():
    with pytest.raises(AttributeError, match="'keras_distill' has no attribute 'Destiller'"):
        keras_distill.Destiller  # noqa: B018


def test_version():
    assert keras_distill.__version__ == importlib.metadata.version("keras-distill")
