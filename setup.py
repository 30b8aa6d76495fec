import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
# Read, not imported: the version must be known before any dependency is installed.
VERSION = re.search(
    r'^__version__ = "(.+)"$', (HERE / "keras_distill/__init__.py").read_text(), re.M
)
# Teachers that are .tflite files; wheels for Python 3.13 on every system since 2.1.1. It needs
# backports.strenum, whose releases since 1.3 refuse Python 3.11.
LITERT = ["ai-edge-litert>=2.1.1,<3", "backports.strenum<1.3"]
# Exact search where ScaNN has no wheel.
FAISS = ["faiss-cpu>=1.9,<2"]
# Students that are .onnx files, by Keras' own exporter; wheels for Python 3.11 to 3.13.
ONNX = ["onnx>=1.19,<2", "onnxruntime>=1.23,<2", "tf2onnx>=1.17,<2"]
# The embedded server: the official stubs, which import TensorFlow, health, metrics, REST.
SERVE = [
    "grpcio-health-checking>=1.62,<2",
    "prometheus-client>=0.20,<1",
    "tensorflow-serving-api~=2.20.0",
    "waitress>=3.0.1,<4",
    "werkzeug>=3.0.6,<4",
]
# Bulk embedding on Flink, Spark or Dataflow. Wants protobuf below 7, which requirements.lock is
# not: requirements-beam.lock is for an environment of its own.
BEAM = ["apache-beam>=2.70,<3"]
# Vectors as tables; tensorflow-datasets needs it too.
PARQUET = ["pyarrow>=18"]
# Archived in 2024; the last wheels are for Python 3.11. It is written against Keras 2.
ADDONS = [
    'tensorflow-addons==0.23.0; python_version < "3.12"',
    'tf-keras~=2.20.0; python_version < "3.12"',
]

setup(
    name="keras_distill",
    version=VERSION[1],
    description="Distils large image-embedding networks into small ones, with Keras 3",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    keywords="metric learning, knowledge distillation, image retrieval, embeddings, keras",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: MacOS",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Recognition",
        "Typing :: Typed",
    ],
    packages=find_packages(include=["keras_distill", "keras_distill.*"]),
    package_data={
        "keras_distill": ["py.typed", "ledger/template/*", "serving/client/prediction.proto"]
    },
    entry_points={"console_scripts": ["keras-distill = keras_distill.__main__:main"]},
    python_requires=">=3.11,<3.14",
    install_requires=[
        "absl-py>=2.1",
        "filelock>=3.15,<4",
        "grpcio>=1.62,<2",
        "keras>=3.12,<4",
        "matplotlib>=3.9,<4",
        "numpy>=1.26,<3",
        "pillow>=10",
        "protobuf>=5.28",
        "rich>=13",
        'scann[tf]==1.4.2; platform_system == "Linux"',
        # The `tensorboard` command of 2.20 imports pkg_resources, which setuptools 82 removed.
        "setuptools>=77,<82",
        # What the tfds builders of CUB and Cars import without declaring it.
        "importlib_resources>=6",
        "opencv-python-headless>=4.9",
        "scipy>=1.11",
        "tensorflow~=2.20.0",
        "tensorflow-datasets>=4.9.7",
    ],
    extras_require={
        "addons": ADDONS,
        "beam": BEAM,
        "dev": [
            *ADDONS,
            *FAISS,
            *LITERT,
            *ONNX,
            *PARQUET,
            *SERVE,
            # Read the files of serving/ as their programs would.
            "check-jsonschema>=0.37,<1",
            "promql-parser>=0.12,<1",
            "pyyaml>=6",
            # pyright with its JavaScript in the wheel, and what editors complete names with.
            "basedpyright>=1.31",
            "jedi>=0.19.2",
            # Faults for `make mutants`.
            "cosmic-ray>=8.7,<9",
            # Since 7.10 it follows processes and forks by itself.
            "coverage>=7.10,<8",
            "hypothesis>=6.100",
            "mypy>=1.13",
            "pytest>=8.2",
            "pytest-xdist>=3.6",
            "ruff>=0.9",
            # Drives the browser that tests the report.
            "selenium>=4.25,<5",
            "wheel>=0.43",
        ],
        # The peer in benchmarks/train_step.py.
        "bench": ["torch>=2.4"],
        "faiss": FAISS,
        "litert": LITERT,
        "onnx": ONNX,
        "parquet": PARQUET,
        "serve": SERVE,
    },
)
