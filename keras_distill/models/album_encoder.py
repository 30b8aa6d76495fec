"""Album encoder: one vector from a set of vectors, by a transformer."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_distill.errors import InputError

_EPSILON = 1e-5  # of the layer normalisations; Keras has 1e-3 by default


@keras.saving.register_keras_serializable("keras_distill")
class AlbumEncoder(keras.layers.Layer):
    """Turns the vectors of an album's images into one vector (PETA).

    A learned class token stands before the vectors; transformer blocks with self-attention and a
    final layer normalisation follow, and the class token's output is the album's vector:

        x = norm(x + dropout(attention(x)))                             each block, after the norm
        x = norm(x + dropout(W2 dropout(relu(W1 x + b1)) + b2))         of its sum (post-norm)

    Albums of any size share a batch: vectors beyond an album's own are masked. Without positions
    the album's vector does not depend on the order of its images. Defaults are those of the
    published code; the paper's figure shows `norm_first=True`.

    Args:
        layers: Number of blocks.
        heads: Attention heads; they divide the width of the vectors.
        mlp_dim: Width of the hidden layer of a block.
        dropout: Share dropped of attention weights and of the output of each layer, in training.
        norm_first: Whether a block normalises its input instead of its sum (pre-norm).
        positions: Number of learned positions, the most images that an album can then have; 0 for
            a set without an order.
        **kwargs: As of `keras.layers.Layer`.

    Raises:
        InputError: If an argument cannot be used, or the vectors do not fit.

    Example:
        >>> import keras
        >>> encoder = AlbumEncoder(layers=1, heads=2, mlp_dim=8)
        >>> vectors = keras.random.normal((1, 3, 4), seed=0)
        >>> album, attention = encoder(vectors, mask=keras.ops.array([[True, True, False]]))
        >>> album.shape, attention.shape
        (TensorShape([1, 4]), TensorShape([1, 3]))
        >>> float(attention[0, 2])
        0.0
    """

    def __init__(
        self,
        layers: int = 6,
        heads: int = 8,
        mlp_dim: int = 2048,
        dropout: float = 0.1,
        *,
        norm_first: bool = False,
        positions: int = 0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        for argument, value in (("layers", layers), ("heads", heads), ("mlp_dim", mlp_dim)):
            if value < 1:
                raise InputError(f"`{argument}={value}` must be positive.")
        if not 0 <= dropout < 1:
            raise InputError(f"`dropout={dropout}` must be from 0 to below 1, such as 0.1.")
        if positions < 0:
            raise InputError(f"`positions={positions}` must be a number of images, or 0 for none.")
        self.layers = layers
        self.heads = heads
        self.mlp_dim = mlp_dim
        self.dropout = dropout
        self.norm_first = norm_first
        self.positions = positions

    def build(self, input_shape: Sequence[Any]) -> None:
        """Makes the variables for vectors `(batch, n, dim)`."""
        if len(input_shape) != 3 or input_shape[-1] is None:
            raise InputError(
                f"`vectors` of shape {tuple(input_shape)} must be (batch, images, width)."
            )
        count, dim = input_shape[1:]
        if dim % self.heads:
            raise InputError(
                f"`heads={self.heads}` does not divide the width {dim} of the vectors."
            )
        if self.positions and (count or 0) > self.positions:
            raise InputError(
                f"`positions={self.positions}` are too few for albums of {count} images."
            )
        small = keras.initializers.TruncatedNormal(stddev=0.02)
        self.class_token = self.add_weight((1, 1, dim), initializer=small, name="class_token")
        self.position_table = None
        if self.positions:  # the first one is the class token's
            self.position_table = self.add_weight(
                (1, self.positions + 1, dim), initializer=small, name="positions"
            )
        self.blocks = [
            _Block(
                *(self.heads, self.mlp_dim, self.dropout, self.norm_first),
                dtype=self.dtype_policy,
                name=f"block_{place}",
            )
            for place in range(self.layers)
        ]
        for block in self.blocks:
            block.build((input_shape[0], None, dim))
        self.norm = _layer_norm(dim, self.dtype_policy, "norm")

    def call(self, vectors: Any, mask: Any = None, training: bool = False) -> tuple[Any, Any]:
        """Encodes albums.

        Args:
            vectors: Tensor `(batch, n, dim)`.
            mask: Whether there is an image in each place, `(batch, n)`; all of them if `None`.
            training: Whether dropout is applied.

        Returns:
            The albums' vectors, `(batch, dim)`; and how much each attends to each of its images in
            the last block, `(batch, n)`, averaged over the heads and 0 where there is none. With
            the share of the class token itself it adds up to 1.
        """
        rows, count = ops.shape(vectors)[0], ops.shape(vectors)[1]
        visible = None
        if mask is not None:
            mask = ops.cast(mask, "bool")
            vectors = ops.where(mask[..., None], vectors, ops.zeros_like(vectors))  # may be NaN
            visible = ops.concatenate([ops.ones((rows, 1), "bool"), mask], axis=1)[:, None, :]
        token = ops.cast(self.class_token, vectors.dtype)
        x = ops.concatenate([ops.broadcast_to(token, (rows, 1, token.shape[-1])), vectors], axis=1)
        if self.position_table is not None:
            x = x + ops.cast(self.position_table, x.dtype)[:, : count + 1]
        attention = None
        for block in self.blocks:
            x, attention = block(x, visible, training=training)
        attention = ops.mean(ops.cast(attention, "float32"), axis=1)[:, 0, 1:]
        if mask is not None:
            attention = ops.where(mask, attention, 0.0)
        return self.norm(x[:, 0]), attention

    def compute_mask(self, *_: Any, **__: Any) -> tuple[None, None]:
        """Returns no masks: an album's vector has none."""
        return None, None

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        names = ("layers", "heads", "mlp_dim", "dropout", "norm_first", "positions")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


class _Block(keras.layers.Layer):
    """A transformer encoder block, normalised after or before its layers."""

    def __init__(self, heads: int, mlp_dim: int, dropout: float, norm_first: bool, **kwargs: Any):
        super().__init__(**kwargs)
        self.heads = heads
        self.mlp_dim = mlp_dim
        self.norm_first = norm_first
        self.dropout = dropout
        self.drop = keras.layers.Dropout(dropout, dtype=self.dtype_policy)

    def build(self, input_shape: Sequence[Any]) -> None:
        dim, policy = input_shape[-1], self.dtype_policy
        self.attention = keras.layers.MultiHeadAttention(
            self.heads, dim // self.heads, dropout=self.dropout, dtype=policy, name="attention"
        )
        self.attention.build(input_shape, input_shape)
        self.hidden = keras.layers.Dense(
            self.mlp_dim, activation="relu", dtype=policy, name="hidden"
        )
        self.hidden.build(input_shape)
        self.back = keras.layers.Dense(dim, dtype=policy, name="back")
        self.back.build((*input_shape[:-1], self.mlp_dim))
        self.attention_norm = _layer_norm(dim, policy, "attention_norm")
        self.mlp_norm = _layer_norm(dim, policy, "mlp_norm")

    def call(self, x: Any, visible: Any = None, training: bool = False) -> tuple[Any, Any]:
        def attend(inputs: Any) -> tuple[Any, Any]:
            outputs, weights = self.attention(
                *(inputs, inputs),
                attention_mask=visible,
                return_attention_scores=True,
                training=training,
            )
            return self.drop(outputs, training=training), weights

        def transform(inputs: Any) -> Any:
            hidden = self.drop(self.hidden(inputs), training=training)
            return self.drop(self.back(hidden), training=training)

        if self.norm_first:
            outputs, weights = attend(self.attention_norm(x))
            x = x + outputs
            return x + transform(self.mlp_norm(x)), weights
        outputs, weights = attend(x)
        x = self.attention_norm(x + outputs)
        return self.mlp_norm(x + transform(x)), weights


def _layer_norm(dim: int, policy: Any, name: str) -> keras.layers.LayerNormalization:
    norm = keras.layers.LayerNormalization(epsilon=_EPSILON, dtype=policy, name=name)
    norm.build((None, dim))
    return norm
