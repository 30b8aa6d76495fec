"""Teacher that settings name."""

from keras_distill.errors import renamed_arguments
from keras_distill.teachers.loading import load_teacher
from keras_distill.teachers.teacher import Teacher


def load_named_teacher(
    setting: str,
    path: str,
    *,
    details: str,
    output: str,
    signature: str,
    image_size: int | None,
    preprocessing: str,
) -> Teacher:
    """Loads a teacher; its errors name the settings that describe it.

    Args:
        setting: Name of the setting that holds the path, such as `gallery_model`.
        path: The path.
        details: What the names of the other settings begin with, such as `gallery`.
        output: Layer or output, as of `load_teacher`.
        signature: Signature of a SavedModel.
        image_size: Height and width of its images, in pixels.
        preprocessing: What it expects of pixels.

    Returns:
        The teacher.

    Raises:
        InputError: If it cannot be loaded.
    """
    described = {
        "output": output,
        "signature": signature,
        "image_size": image_size,
        "preprocessing": preprocessing,
    }
    names = {name: f"{details}_{name}" for name in described}
    with renamed_arguments(path=setting, model=f"{setting}={path}", **names):
        return load_teacher(
            path,
            output=output,
            signature=signature,
            image_size=image_size,
            preprocessing=preprocessing,
        )
