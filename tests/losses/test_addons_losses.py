import importlib.util

import pytest

from keras_distill.errors import InputError
from keras_distill.losses.addons_losses import ADDONS_LOSSES, PACKAGES, check_addons
from keras_distill.losses.registry import TASK_LOSSES
from keras_distill.losses.tensorflow_addons import AddonsLoss


@pytest.fixture
def hide(monkeypatch):
    """Makes some packages look as if they were not installed, and others as if they were."""

    def look(*names):
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name: None if name in names else "something"
        )

    return look


@pytest.mark.parametrize("loss", ADDONS_LOSSES)
def test_what_is_missing_and_what_else_there_is(hide, loss):
    hide(*PACKAGES)
    with pytest.raises(InputError) as error:
        check_addons(loss)
    assert str(error.value).startswith(
        f"`loss={loss!r}` needs tensorflow_addons and tf_keras, not installed here; use "
    )
    assert str(error.value).endswith(
        ", or, on Python 3.11 only, pip install 'keras_distill[addons]'."
    )
    assert ADDONS_LOSSES[loss].partition(",")[0] in TASK_LOSSES
    assert f"use {ADDONS_LOSSES[loss]}, or" in str(error.value)


def test_nothing_is_missing(hide):
    hide()
    check_addons("npairs")


@pytest.mark.parametrize("missing", PACKAGES)
def test_the_loss_says_so_too(hide, missing):
    hide(missing)
    with pytest.raises(InputError, match=rf"^`loss='npairs'` needs {missing}, not inst"):
        AddonsLoss("npairs")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            {"loss": "triplet"},
            "`loss='triplet'` must be one of triplet_semihard, triplet_hard, lif",
        ),
        ({"loss": "npairs", "margin": 0}, "`margin=0`: npairs has no margin; leave it out"),
        ({"loss": "contrastive", "scale": 2}, "`scale=2`: contrastive has no scale; leave it out"),
    ],
)
def test_settings_that_do_not_fit(hide, arguments, said):
    hide(*PACKAGES)
    with pytest.raises(ValueError, match=f"^AddonsLoss: {said}"):
        AddonsLoss(**arguments)
