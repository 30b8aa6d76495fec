"""Size of the images that a model needs."""

from collections.abc import Sequence

from keras_distill.errors import InputError


def takes_square_images(shape: Sequence[int | None]) -> bool:
    """Tells whether `(batch, height, width, channels)` fits square RGB images; `None` is open."""
    return len(shape) == 4 and shape[1] == shape[2] and shape[3] in (3, None)


def agreed_image_size(fixed: int | None, image_size: int | None) -> int | None:
    """Reconciles the size that a model takes with the size that its user wants.

    Args:
        fixed: Height and width of the model's input, in pixels; `None` if it takes any.
        image_size: Height and width that the user wants; `None` for the model's own.

    Returns:
        Height and width of the images that the model shall see; `None` if any will do.

    Raises:
        InputError: If the model takes another size.

    Example:
        >>> agreed_image_size(None, 224)
        224
    """
    if image_size is not None and image_size < 1:
        raise InputError(f"`image_size={image_size}` must be positive.")
    if fixed is not None and image_size not in (None, fixed):
        raise InputError(
            f"`image_size={image_size}`: `model` takes images of {fixed} x {fixed} pixels and of "
            "no other size; leave `image_size` out."
        )
    return image_size if fixed is None else fixed


def needed_image_size(
    fixed: int | None, image_size: int | None = None, default: int | None = None
) -> int:
    """Decides the size of the images that a model is given.

    Args:
        fixed: Height and width of the model's input, in pixels; `None` if it takes any.
        image_size: Height and width that the user wants; `None` for the model's own.
        default: Size to take where neither decides.

    Returns:
        Height and width of the images that the model shall see, in pixels.

    Raises:
        InputError: If nothing decides it, or the model takes another size.

    Example:
        >>> needed_image_size(None, None, 224)
        224
    """
    size = fixed or image_size or default
    if size is None:
        raise InputError("`model` takes images of any size; give `image_size`.")
    if image_size not in (None, size):
        raise InputError(f"`image_size={image_size}`: `model` takes {size} pixels.")
    return size
