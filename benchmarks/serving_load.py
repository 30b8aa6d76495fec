"""The load of serving.py: images, and threads that send them for a while."""

import io
import threading
import time

import numpy as np

SIZE = 128


def images(kind, count):
    """`count` images, as JPEG files or as pixels."""
    from PIL import Image

    noise = np.random.default_rng(0)
    made = []
    for _ in range(count):
        if kind == "uint8":
            made.append(noise.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8))
            continue
        coarse = Image.fromarray(noise.integers(0, 256, (30, 40, 3), dtype=np.uint8))
        file = io.BytesIO()
        coarse.resize((400, 300), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
        made.append(file.getvalue())
    return made


def run_workers(call, concurrency, seconds):
    """Calls from several threads for a while; milliseconds of each call, and seconds in all."""
    call()
    ends = time.perf_counter() + seconds
    milliseconds = []

    def work():
        while (begun := time.perf_counter()) < ends:
            call()
            milliseconds.append(1e3 * (time.perf_counter() - begun))

    begun = time.perf_counter()
    threads = [threading.Thread(target=work) for _ in range(concurrency)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"milliseconds": milliseconds, "seconds": time.perf_counter() - begun}
