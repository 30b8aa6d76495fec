"""Names of the losses of TensorFlow Addons, and a check that its packages are installed."""

import importlib.util

from keras_distill.errors import InputError

#: The names, each with the nearest loss of this package, for messages.
ADDONS_LOSSES = {
    "triplet_semihard": "semi_hard_triplet, which is equal for as many images of each class",
    "triplet_hard": "batch_hard_triplet, which is equal",
    "lifted_struct": "lifted_structure, which is equal",
    "npairs": "n_pairs, which is close",
    "contrastive": "contrastive, which is close",
}
#: Packages that the extra `addons` installs.
PACKAGES = ("tensorflow_addons", "tf_keras")


def check_addons(loss: str) -> None:
    """Rejects a loss whose packages are missing, without importing any.

    Args:
        loss: One of `ADDONS_LOSSES`.

    Raises:
        InputError: If TensorFlow Addons or the Keras 2 that it needs is not installed.
    """
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"`loss={loss!r}` needs {' and '.join(missing)}, not installed here; use "
            f"{ADDONS_LOSSES[loss]}, or, on Python 3.11 only, "
            "pip install 'keras_distill[addons]'."
        )
