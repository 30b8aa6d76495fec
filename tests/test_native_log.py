import os
import subprocess
import sys
import threading

import pytest

from keras_distill.native_log import quiet_native_log

CHATTER = [
    "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR",
    "W0000 00:00:1795933449.444982   20089 tf_tfl_flatbuffer_helpers.cc:364] Ignored drop_control.",
    "I0000 00:00:1795933449.549112   20089 mlir_graph_optimization_pass.cc:437] MLIR V1",
    "2026-11-29 06:28:41.437284: I tensorflow/core/util/port.cc:153] oneDNN custom operations",
    "INFO: Created TensorFlow Lite XNNPACK delegate for CPU.",
    "fully_quantize: 0, inference_type: 6",
]
ERRORS = [
    "E0000 00:00:1795933449.549112   20089 converter.cc:437] cannot be converted",
    "2026-11-29 06:28:41.437284: F tensorflow/core/util/port.cc:153] Check failed",
    "ERROR: Something went wrong",
    "train.py:3: UserWarning: INFO: is not at the beginning",
    "",
]
LINES = [*CHATTER, *ERRORS, CHATTER[2]]


def write(*lines):
    os.write(2, "".join(f"{line}\n" for line in lines).encode())


def test_chatter_is_kept_from_the_console_and_errors_are_not(capfd):
    write("before")
    with quiet_native_log():
        write(*LINES)
    write("after")
    assert capfd.readouterr().err.splitlines() == ["before", *ERRORS, "after"]


def test_a_line_without_an_end_is_shown(capfd):
    with quiet_native_log():
        os.write(2, b"half a line")
    assert capfd.readouterr().err == "half a line"


@pytest.mark.parametrize(
    ("error", "shown"),
    [(ValueError, [*ERRORS, *CHATTER, CHATTER[2]]), (KeyboardInterrupt, ERRORS)],
)
def test_a_failure_shows_what_was_kept(capfd, error, shown):
    def fail():
        write(*LINES)
        raise error

    with pytest.raises(error), quiet_native_log():
        fail()
    write("after")
    assert capfd.readouterr().err.splitlines() == [*shown, "after"]


def run(code):
    code = f"import os, sys\nfrom keras_distill.native_log import quiet_native_log\n{code}"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def test_a_process_that_is_aborted_shows_what_was_kept():
    done = run(f"with quiet_native_log():\n  os.write(2, b'{CHATTER[1]}\\n'); os.abort()")
    assert (done.returncode, done.stderr) == (-6, f"{CHATTER[1]}\n")


def test_more_than_a_pipe_holds_can_be_written_by_one_call():
    line = f"{CHATTER[1]}\n" * 10_000
    code = (
        f"with quiet_native_log():\n  os.write(2, {line[:100]!r}.encode() * 10_000 + b'error\\n')"
    )
    done = run(code)
    assert (done.returncode, done.stderr[-6:]) == (0, "error\n")


def test_without_a_stderr_it_does_nothing():
    done = run("os.close(2)\nwith quiet_native_log():\n  print('done')")
    assert (done.returncode, done.stdout) == (0, "done\n")


def test_threads_take_turns_and_blocks_may_be_nested(capfd):
    def work(number):
        with quiet_native_log(), quiet_native_log():
            write(CHATTER[1], f"error {number}")

    threads = [threading.Thread(target=work, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    write("after")
    *errors, last = capfd.readouterr().err.splitlines()
    assert (sorted(errors), last) == ([f"error {number}" for number in range(4)], "after")
