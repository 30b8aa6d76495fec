"""The client is light: a web service imports it."""

CODE = """
import sys
import keras_distill.serving.client.client, keras_distill.serving.client.async_client
from keras_distill import EmbeddingClient
print(*sorted({name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names)))
print(*sorted(name for name in sys.modules if name.startswith("keras_distill")))
"""
OF_THE_CLIENT = {
    "arguments",
    "async_client",
    "channel",
    "client",
    "embed_result",
    "output_contract",
    "errors",
    "exchange",
    "image_items",
    "messages",
    "model_contract",
    "model_reference",
    "model_status",
    "predict_bytes",
    "predict_result",
    "prediction_work",
    "proto_file",
    "request_batches",
    "settings",
    "tensors",
}


def test_client_imports_neither_tensorflow_nor_keras_nor_the_rest_of_the_package(run_python):
    imported, own = run_python(CODE).splitlines()
    assert {"grpc", "google", "numpy"} <= set(imported.split())
    assert not {"tensorflow", "keras", "PIL", "rich", "absl", "scipy"} & set(imported.split())
    rooms = {
        "keras_distill",
        *(
            f"keras_distill.{name}"
            for name in ("data", "data.image_files", "serving", "serving.client")
        ),
    }
    inside = {f"keras_distill.serving.client.{name}" for name in OF_THE_CLIENT}
    assert set(own.split()) == rooms | inside
