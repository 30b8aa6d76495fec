"""Sessions of ONNX Runtime on the CPU."""

from typing import Any


def open_session(content: bytes, threads: int) -> Any:
    """Loads a graph.

    Args:
        content: The content of an `.onnx` file.
        threads: Threads that compute.

    Returns:
        An `onnxruntime.InferenceSession`, which prints errors only.

    Raises:
        ImportError: If the package `onnxruntime` is missing.
        Exception: If the graph cannot be run; of a dozen kinds, without a common base.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
