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
# Modules whose examples train a whole MobileNet.
TRAINING = (
    "keras_distill.methods.distiller",
    "keras_distill.methods.supervised",
    "keras_distill.training.recall_validation",
)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name in TRAINING else ()) for name in MODULES],
)
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
