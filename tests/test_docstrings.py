import doctest
import importlib
import pkgutil

import pytest

import keras_distill

MODULES = [
    module.name for module in pkgutil.walk_packages(keras_distill.__path__, "keras_distill.")
]


# Modules that need an extra which is not installed for the tests.
NEEDS = {"keras_distill.beam_embedding": "apache_beam"}


@pytest.mark.parametrize("name", MODULES)
def test_examples_give_what_they_say(name):
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    module = importlib.import_module(name)
    result = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0
