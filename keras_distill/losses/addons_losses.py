"""The losses of TensorFlow Addons by name, and whether they can be had; light, for the flags."""

import importlib.util

from keras_distill.errors import InputError

#: The names, and what a message says of the loss of this package that comes nearest.
ADDONS_LOSSES = {
    "triplet_semihard": "semi_hard_triplet, which is equal for as many images of each class",
    "triplet_hard": "batch_hard_triplet, which is equal",
    "lifted_struct": "lifted_structure, which is equal",
    "npairs": "n_pairs, which is close",
    "contrastive": "contrastive, which is close",
}
#: What is installed by the extra `addons`.
PACKAGES = ("tensorflow_addons", "tf_keras")


def check_addons(loss: str, *, argument: str) -> None:
    """Rejects a loss whose packages are missing, without importing any.

    Args:
        loss: One of `ADDONS_LOSSES`.
        argument: What the message calls it.

    Raises:
        InputError: If TensorFlow Addons or the Keras 2 that it needs is not installed.
    """
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"{argument} needs {' and '.join(missing)}, not installed here; take "
            f"{ADDONS_LOSSES[loss]}, or, on Python 3.11 only, "
            "pip install 'keras_distill[addons]'."
        )
