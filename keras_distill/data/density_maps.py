"""Density maps: a Gaussian for each point, whose sum is the number of points."""

import tensorflow as tf

from keras_distill.errors import InputError


def density_map(
    points: tf.Tensor,
    image_shape: tf.Tensor,
    window: tf.Tensor,
    *,
    sigma: tf.Tensor | float,
    cells: tuple[int, int],
) -> tf.Tensor:
    """Computes the density map of a part of an image.

    `D(cell) = sum_p integral over the cell of N(x; p, sigma^2) / integral over the image`: each
    Gaussian is integrated exactly, by the error function, not sampled, and what it has outside of
    the image is put back. So the map of a whole image adds up to the number of points whatever the
    cells, and those of its parts to that of the image.

    Args:
        points: x and y of each point, float32 `(points, 2)`, in pixels of the image from its left
            upper corner; those outside of it count at its border.
        image_shape: Height and width of the image, in pixels, `(2,)`.
        window: Top, left, height and width of the part, in pixels, `(4,)`.
        sigma: Standard deviation, in pixels of this image; see `sigma_in_file`.
        cells: Rows and columns of the map.

    Returns:
        float32 tensor `(rows, columns, 1)`.

    Example:
        >>> points = tf.constant([[2.0, 3.0], [90.0, 50.0]])
        >>> found = density_map(points, [60, 100], [0, 0, 60, 100], sigma=4.0, cells=(3, 5))
        >>> float(tf.reduce_sum(found))
        2.0
        >>> found[:, :, 0].numpy().round(1)
        array([[1., 0., 0., 0., 0.],
               [0., 0., 0., 0., 0.],
               [0., 0., 0., 0., 1.]], dtype=float32)
    """
    extent = tf.cast(image_shape, tf.float32)
    window = tf.cast(window, tf.float32)
    points = tf.cast(points, tf.float32)
    shares = []
    for axis in range(2):
        place = tf.clip_by_value(points[:, 1 - axis], 0.0, extent[axis])
        edges = window[axis] + window[2 + axis] * tf.linspace(0.0, 1.0, cells[axis] + 1)

        def below(edge: tf.Tensor, place: tf.Tensor = place) -> tf.Tensor:
            """The part of each Gaussian that lies below an edge."""
            return 0.5 * (1.0 + tf.math.erf((edge - place[:, None]) / (sigma * 2.0**0.5)))

        inside = below(extent[axis, None]) - below(tf.zeros([1]))
        cumulative = below(edges[None])
        shares.append((cumulative[:, 1:] - cumulative[:, :-1]) / inside)
    return tf.einsum("pi,pj->ij", *shares)[..., None]


def sigma_in_file(sigma: float, scale: float) -> float:
    """Converts a sigma in pixels of the original photograph to pixels of a smaller file of it.

    Args:
        sigma: Standard deviation in pixels of the original; the papers have 15.
        scale: Pixels of the file for each pixel of the original, along a side.

    Returns:
        The standard deviation in pixels of the file.

    Raises:
        InputError: If one of them is not positive.

    Example:
        >>> sigma_in_file(15, 384 / 1024)
        5.625
    """
    if sigma <= 0 or scale <= 0:
        raise InputError(f"`sigma={sigma}` and `scale={scale}` must be positive.")
    return sigma * scale
