"""Cost of serving: the same exported model called in-process, and over gRPC.

    python benchmarks/serving.py
    python benchmarks/serving.py --target=gpu-box:8500 --model=birds --cases=grid

Purpose: the claims about the embedded server and the client. The load comes from this process, by
`EmbeddingClient`, over the loopback interface; the model runs in processes of its own
(serving_peer.py, keras_distill.serve), asked by turns. The model is MobileNet-0.25 at 128 pixels,
exported with --batching.
  grid                        p50, p99 and images/s for batches of 1, 8, 32 by 1, 8, 32 callers, of
                              JPEG files (400 x 300) and of uint8 pixels
  embedded_overhead_ms_b1     `value`: p50 of one caller with one image, against in-process
  embedded_vs_inprocess_b32   `ratio`: images/s with batches of 32, each at its best concurrency
  client_cpu                  the client's share of the CPU time of client and server, batches of 32
  mixed_load                  --mixed_seconds of all of that at once, 5 % of the requests bad: good
                              requests that failed (against 0), and the server's growth in MB
`embedded_*` and `client_cpu` come out of the grid. An operation has as many threads in-process as
TensorFlow gives it, in the embedded server one; --inprocess_intra_op_threads=1 gives both one.
--target replaces the embedded server; what runs there has to have been exported for 128 pixels.
Cost: seven minutes on two cores.
Expected: see benchmarks/RESULTS.md.
"""

import contextlib
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from absl import app, flags
from serving_load import SIZE, images, run_workers

TARGET = flags.DEFINE_string("target", "", "host:port of another server to ask.")
MODEL = flags.DEFINE_string("model", "bench", "Name of the model there.")
BATCHING = flags.DEFINE_enum("batching", "graph", ["graph", "none"], "As of export.")
PEER_THREADS = flags.DEFINE_integer(
    "inprocess_intra_op_threads", 0, "Threads of an operation in-process; 0 for TensorFlow's own."
)
SECONDS = flags.DEFINE_float("seconds", 1.5, "Load of each cell of the grid, each turn.")
ROUNDS = flags.DEFINE_integer("rounds", 3, "Turns of each side.")
MIXED_SECONDS = flags.DEFINE_float("mixed_seconds", 60.0, "Length of the mixed load.")
CASES = flags.DEFINE_list("cases", "grid,mixed_load", "grid, mixed_load, or both.")
COUNTS, BAD_SHARE = (1, 8, 32), 0.05


def report(case, value, against, unit, **more):
    line = {"benchmark": "serving", "case": case, "value": rounded(value), "unit": unit}
    line |= {"against": rounded(against)}
    line |= {"ratio": rounded(value / against)} if against else {}
    print(json.dumps(line | more), flush=True)


def rounded(value):
    return float(f"{value:.4g}")


@contextlib.contextmanager
def process(*command):
    """A process, and the line that says that it is ready."""
    with subprocess.Popen(
        [sys.executable, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as child:
        try:
            ready = child.stdout.readline()
            if not ready:
                sys.exit(f"{command} has failed.")
            yield child, ready
        finally:
            child.send_signal(signal.SIGTERM)


def cpu_seconds(pid):
    # The fields after the name, which may hold spaces: of them user and system time.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_megabytes(pid):
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def summary(runs, batch):
    """Of the runs of one cell: p50, p99 and images a second."""
    times = np.concatenate([run["milliseconds"] for run in runs])
    rates = [batch * len(run["milliseconds"]) / run["seconds"] for run in runs]
    return {
        "p50_ms": statistics.median(np.percentile(run["milliseconds"], 50) for run in runs),
        "p99_ms": float(np.percentile(times, 99)),
        "images_per_s": statistics.median(rates),
    }


def grid(client, server_pid, inprocess):
    cells = {}
    shares = {}
    for kind in ("jpeg", "uint8"):
        for batch in COUNTS:
            items = images(kind, batch)
            for concurrency in COUNTS:
                served, direct = [], []
                client_cpu = server_cpu = 0.0
                for _ in range(ROUNDS.value):
                    before = time.process_time(), server_pid and cpu_seconds(server_pid)
                    served.append(
                        run_workers(
                            lambda items=items: client.embed(items), concurrency, SECONDS.value
                        )
                    )
                    client_cpu += time.process_time() - before[0]
                    if server_pid:
                        server_cpu += cpu_seconds(server_pid) - before[1]
                    direct.append(
                        inprocess(
                            input=kind, batch=batch, concurrency=concurrency, seconds=SECONDS.value
                        )
                    )
                one, other = summary(served, batch), summary(direct, batch)
                cells[kind, batch, concurrency] = one, other
                if server_pid:
                    shares[kind, batch, concurrency] = client_cpu / (client_cpu + server_cpu)
                report(
                    f"{kind}_b{batch}_c{concurrency}",
                    one["images_per_s"],
                    other["images_per_s"],
                    "images/s",
                    **{name: rounded(one[name]) for name in ("p50_ms", "p99_ms")},
                    **{f"{name}_against": rounded(other[name]) for name in ("p50_ms", "p99_ms")},
                )
    for kind, suffix in (("uint8", ""), ("jpeg", "_jpeg")):
        one, other = (side["p50_ms"] for side in cells[kind, 1, 1])
        report(
            f"embedded_overhead_ms_b1{suffix}",
            one - other,
            2.5,
            "ms",
            p50_ms=rounded(one),
            p50_ms_inprocess=rounded(other),
        )
        best = [max(cells[kind, 32, c][side]["images_per_s"] for c in COUNTS) for side in (0, 1)]
        report(f"embedded_vs_inprocess_b32{suffix}", *best, "images/s")
        if server_pid:
            report(f"client_cpu{suffix}", max(shares[kind, 32, c] for c in COUNTS), 0.1, "share")


def mixed_load(client, address, server_pid):
    """All sizes at once from eight callers, of which a share sends what no server can take."""
    import grpc

    from keras_distill.serving.client.errors import ServingError
    from keras_distill.serving.client.messages import PredictRequest, PredictResponse
    from keras_distill.serving.client.tensors import encode_array, encode_strings

    good = [images(kind, count) for kind in ("jpeg", "uint8") for count in COUNTS]
    channel = grpc.insecure_channel(address)
    predict = channel.unary_unary(
        "/tensorflow.serving.PredictionService/Predict",
        request_serializer=PredictRequest.SerializeToString,
        response_deserializer=PredictResponse.FromString,
    )
    spoiled = good[1][:-1] + [good[1][0][:2000]]  # seven whole JPEG files and half a one
    wrong = [
        ("serving_default", "image_bytes", encode_strings([b"no image", *good[1]])),
        ("serving_default", "image_bytes", encode_strings(spoiled)),
        ("serve_uint8", "image", encode_array(np.zeros((4, 64, 128, 3), np.uint8))),
        ("serve_uint8", "image", encode_array(np.zeros((SIZE, SIZE, 3), np.uint8))),
        ("serve_uint8", "image", encode_array(np.zeros((2, SIZE, SIZE, 3), np.float32))),
        ("serve_nothing", "image", encode_array(np.zeros((2, SIZE, SIZE, 3), np.uint8))),
    ]
    counts = {"good": 0, "failed": 0, "bad": 0, "bad_taken": 0}
    lock = threading.Lock()
    ends = time.monotonic() + MIXED_SECONDS.value
    megabytes = []

    def count(name):
        with lock:
            counts[name] += 1

    def work(seed):
        rng = random.Random(seed)
        while time.monotonic() < ends:
            if rng.random() < BAD_SHARE:
                signature, name, tensor = rng.choice(wrong)
                request = PredictRequest(
                    model_spec={"name": MODEL.value, "signature_name": signature}
                )
                request.inputs[name].CopyFrom(tensor)
                count("bad")
                try:
                    predict(request, timeout=30)
                except grpc.RpcError:
                    continue
                count("bad_taken")
                continue
            count("good")
            try:
                client.embed(rng.choice(good))
            except ServingError as error:
                print(error, file=sys.stderr)
                count("failed")

    threads = [threading.Thread(target=work, args=[seed]) for seed in range(8)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        time.sleep(1)
        if server_pid:
            megabytes.append(resident_megabytes(server_pid))
    channel.close()
    if megabytes:
        third = len(megabytes) // 3
        early, late = statistics.median(megabytes[third : 2 * third]), megabytes[-third:]
        counts["server_mb"] = rounded(statistics.median(late))
        counts["server_mb_growth"] = rounded(statistics.median(late) - early)
    report("mixed_load", counts.pop("failed"), 0, "good requests that failed", **counts)


@contextlib.contextmanager
def served(folder):
    """The address of a server, and the number of its process if it is ours."""
    if TARGET.value:
        yield TARGET.value, None
        return
    with process(
        "-m", "keras_distill.serve", f"--models={folder}", "--port=0", "--rest_port=-1"
    ) as (server, ready):
        yield json.loads(ready)["grpc"], server.pid


def main(_):
    from keras_distill.serving.client.client import EmbeddingClient

    if unknown := {*CASES.value} - {"grid", "mixed_load"}:
        raise app.UsageError(f"--cases: {', '.join(unknown)} unknown; grid, mixed_load.")
    with tempfile.TemporaryDirectory() as folder:
        peer = str(Path(__file__).with_name("serving_peer.py"))
        with (
            process(peer, folder, MODEL.value, BATCHING.value, str(PEER_THREADS.value)) as (
                peer,
                _,
            ),
            served(folder) as (address, server_pid),
            EmbeddingClient(address, model=MODEL.value) as client,
        ):

            def inprocess(**question):
                peer.stdin.write(json.dumps(question) + "\n")
                peer.stdin.flush()
                return json.loads(peer.stdout.readline())

            if "grid" in CASES.value:
                grid(client, server_pid, inprocess)
            if "mixed_load" in CASES.value:
                mixed_load(client, address, server_pid)


if __name__ == "__main__":
    app.run(main)
