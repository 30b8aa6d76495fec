import json

import pytest

from keras_distill.errors import InputError
from keras_distill.training.cluster import read_cluster

WORKERS = ["one:2222", "two:2222"]


def config(workers=WORKERS, index=1, type="worker", jobs=None):
    task = {"type": type, "index": index}
    return json.dumps({"cluster": jobs or {"worker": workers}, "task": task})


def test_reads_tf_config():
    cluster = read_cluster({"TF_CONFIG": config()})
    assert cluster.workers == ("one:2222", "two:2222")
    assert (cluster.index, cluster.is_chief) == (1, False)
    assert read_cluster({"TF_CONFIG": config(index=0)}).is_chief


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not set"),
        ("{", "lacks something or is no JSON"),
        ("[]", "lacks something or is no JSON"),
        ('{"cluster": {"worker": ["one:1"]}}', "'task'"),
        (config(jobs={"chief": ["one:1"], "worker": ["two:1"]}), "all must be 'worker'"),
        (config(type="evaluator"), "all must be 'worker'"),
        (config(workers=[]), "names no workers"),
        (config(workers=["one", "two:1"]), "'one', which is not host:port"),
        (config(workers=["one:1", "one:1"]), "an address twice"),
        (config(index=2), "index 2, but there are 2"),
        (config(index=-1), "index -1"),
    ],
)
def test_unusable(text, message):
    with pytest.raises(InputError, match=message) as error:
        read_cluster({"TF_CONFIG": text})
    assert "host0:2222" in str(error.value)  # an example to follow
