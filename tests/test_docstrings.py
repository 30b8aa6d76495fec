import doctest
import importlib
import pkgutil

import pytest

import keras_distill

MODULES = [
    module.name for module in pkgutil.walk_packages(keras_distill.__path__, "keras_distill.")
]
PUBLIC = keras_distill.__all__

# Modules that need an extra which is not installed for the tests.
NEEDS = {"keras_distill.embedding.beam": "apache_beam"}


@pytest.mark.parametrize("name", MODULES)
def test_examples_give_what_they_say(name):
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    module = importlib.import_module(name)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    for example in doctest.DocTestFinder(exclude_empty=True).find(module, name):
        subject = example.name.removeprefix(f"{name}.").partition(".")[0]
        if keras_distill._HOME_OF.get(subject) == name.removeprefix("keras_distill."):
            # A user who pastes it has the public names, and not those that the module imports.
            example.globs = {public: getattr(keras_distill, public) for public in PUBLIC}
        runner.run(example)
    assert runner.failures == 0
