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


def needed_image_size(
    fixed: int | None,
    asked: int | None = None,
    default: int | None = None,
    *,
    source: str,
    flag: str = "--image_size",
    called: str = "model",
) -> int:
    """Settles the size that a command's flags leave to a model.

    Args:
        fixed: Height and width of the model's input, in pixels; `None` if it takes any.
        asked: What `flag` says; `None` for nothing.
        default: What to take where neither decides.
        source: What an error message should call the model that takes any size.
        flag: The flag that settles it.
        called: What the model is to the command.

    Returns:
        Height and width that the model shall see, in pixels.

    Raises:
        InputError: If nothing settles it, or the model takes another size than asked for.

    Example:
        >>> needed_image_size(None, None, 224, source="--model=any.keras")
        224
    """
    size = fixed or asked or default
    if size is None:
        raise InputError(f"{source} takes images of any size; give {flag}.")
    if asked not in (None, size):
        raise InputError(f"{flag}={asked}: the {called} takes {size} pixels.")
    return size
