"""The files that a model can be exported as, for phones and for other runtimes."""

from dataclasses import dataclass

#: Precisions of a LiteRT file.
PRECISIONS = ("float32", "float16", "dynamic_int8", "int8")


@dataclass(frozen=True)
class FileFormat:
    """A format that holds a model in one file.

    Attributes:
        suffix: Of its files.
        extra: Of this package, that brings what writes and runs it.
        packages: What that extra installs, as it is imported.
    """

    suffix: str
    extra: str
    packages: tuple[str, ...]


FILE_FORMATS = {
    "litert": FileFormat(".tflite", "litert", ("ai_edge_litert",)),
    "onnx": FileFormat(".onnx", "onnx", ("onnx", "onnxruntime", "tf2onnx")),
}

# The least cosine between what the file and what the Keras model make of an image. Measured on 64
# photographs of training classes, MobileNet 0.25 at 128 pixels: 1.0000, 0.9999, 0.98 and 0.97. A
# file below is broken (channels swapped, weights lost, no sensible calibration), not coarse, and
# shows it on every image; so a few may miss it, for one picture in dozens is always an odd one.
LEAST_COSINE = {"float32": 0.9999, "float16": 0.999, "dynamic_int8": 0.9, "int8": 0.9}
# The same for other outputs: 1 minus the largest difference of an image, relative to the largest
# value of all images.
LEAST_CLOSENESS = {"float32": 0.999, "float16": 0.98, "dynamic_int8": 0.75, "int8": 0.75}
MISSING_SHARE = 0.05
# The worst image may be so many times as far from 1.
WORST_FACTOR = 4.0
