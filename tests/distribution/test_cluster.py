import json
import socket
import threading

import pytest

from keras_distill.distribution.cluster import Cluster, read_cluster, wait_for_workers
from keras_distill.errors import InputError

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
        ("{", "lacks something or is not JSON"),
        ("[]", "lacks something or is not JSON"),
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


def free_ports(count):
    sockets = [socket.create_server(("localhost", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return tuple(f"localhost:{port}" for port in ports)


def test_workers_wait_for_each_other():
    workers = free_ports(2)
    first = threading.Thread(target=wait_for_workers, args=(Cluster(workers, 0), 20.0))
    first.start()
    host, _, port = workers[1].rpartition(":")
    with socket.create_server((host, int(port))):  # as TensorFlow listens
        first.join(20.0)
        assert not first.is_alive()


def test_a_worker_that_does_not_come():
    with socket.socket() as silent:  # so that nobody else comes to listen there
        silent.bind(("localhost", 0))
        absent = f"localhost:{silent.getsockname()[1]}"
        with pytest.raises(InputError, match=rf"worker 1 \({absent}\) was not there after 0.3 s"):
            wait_for_workers(Cluster((*free_ports(1), absent), 0), limit=0.3)


def test_a_port_that_is_in_use():
    with socket.create_server(("", 0)) as taken:
        cluster = Cluster((f"localhost:{taken.getsockname()[1]}",), 0)
        with pytest.raises(InputError, match="cannot listen at its port"):
            wait_for_workers(cluster)
