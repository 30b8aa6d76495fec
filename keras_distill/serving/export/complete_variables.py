"""A SavedModel that does not load without its variables."""

from collections.abc import Iterable
from typing import Any

import tensorflow as tf


class CompleteVariables(tf.saved_model.experimental.TrackableResource):
    """Lets the initialisation of a SavedModel fail where `variables/` is not there.

    TensorFlow's loader takes a folder with `saved_model.pb` alone, which a copy is for a while, for
    a model without variables. TF-Serving then makes that version available, unloads the one before,
    and fails every request. To be tracked by whatever is saved.

    Args:
        variables: The variables, `tf.Variable`, whose values the SavedModel holds.
    """

    def __init__(self, variables: Iterable[Any]):
        super().__init__()
        self._restored = list(variables)
        self.resource_handle  # noqa: B018 - made here, as saving expects

    def _create_resource(self) -> tf.Tensor:
        # Only a resource is initialised at loading; this one holds nothing that anybody reads.
        return tf.raw_ops.VarHandleOp(dtype=tf.bool, shape=[], shared_name="complete_variables")

    def _initialize(self) -> None:
        restored = [tf.raw_ops.VarIsInitializedOp(resource=v.handle) for v in self._restored]
        complete = tf.reduce_all(restored)
        said = (
            "The version is incomplete: variables/ is missing. Was it copied while it was loaded?"
        )
        tf.raw_ops.Assert(condition=complete, data=[said])
        tf.raw_ops.AssignVariableOp(resource=self.resource_handle, value=complete)
