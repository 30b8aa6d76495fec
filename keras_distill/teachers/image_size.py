"""The size of the images that a teacher needs."""

from collections.abc import Sequence

from keras_distill.errors import InputError


def takes_square_images(shape: Sequence[int | None]) -> bool:
    """Tells whether `(batch, height, width, channels)` fits square RGB images; `None` is open."""
    return len(shape) == 4 and shape[1] == shape[2] and shape[3] in (3, None)


def agreed_image_size(
    fixed: int | None, asked: int | None, *, source: str = "teacher"
) -> int | None:
    """Reconciles the size that a model takes with the size that its user wants.

    Args:
        fixed: Height and width of the model's input, in pixels; `None` if it takes any.
        asked: Height and width that the user wants; `None` for the model's own.
        source: What an error message should call the model.

    Returns:
        Height and width that the teacher shall see; `None` if any will do.

    Raises:
        InputError: If the model takes another size than asked for.

    Example:
        >>> agreed_image_size(None, 224)
        224
    """
    if asked is not None and asked < 1:
        raise InputError(f"image_size={asked} must be positive.")
    if fixed is not None and asked not in (None, fixed):
        raise InputError(
            f"image_size={asked}: {source} takes images of {fixed} x {fixed} pixels and of no "
            "other size; leave image_size out."
        )
    return asked if fixed is None else fixed
