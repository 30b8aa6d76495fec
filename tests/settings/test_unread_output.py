import subprocess
import sys

import pytest

BEGIN = "import os, sys\nfrom keras_distill.settings.unread_output import ended_when_unread\n"


def run(code, *options):
    """Runs a program whose output nobody reads; returns its exit code and errors."""
    program = subprocess.Popen(
        [sys.executable, *options, "-c", BEGIN + code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    program.stdout.close()
    program.stdin.write("\n")
    program.stdin.close()
    errors = program.stderr.read()
    program.stderr.close()
    return program.wait(), errors


@pytest.mark.parametrize("options", [(), ("-u",)], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("then", ["", "; sys.exit(2)"])
def test_unread_output_ends_the_program_quietly(options, then):
    code = f"sys.stdin.readline()\nwith ended_when_unread():\n  print('line'){then}"
    assert run(code, *options) == (1, "")


def test_other_broken_pipes_are_errors():
    code, errors = run(
        "sys.stdin.readline()\n"
        "sys.stdout = os.fdopen(os.open(os.devnull, os.O_WRONLY), 'w')\n"
        "read, write = os.pipe()\nos.close(read)\n"
        "with ended_when_unread():\n  os.write(write, b'x')"
    )
    assert code == 1
    assert "BrokenPipeError" in errors


@pytest.mark.parametrize("arguments", [("--version",), ("ablate", "--help"), ()])
def test_commands_end_quietly(arguments):
    program = [sys.executable, "-m", "keras_distill", *arguments]
    ended = subprocess.run(
        ["sh", "-c", '"$@" | exec true', "sh", *program], capture_output=True, text=True
    )
    assert (ended.stdout, ended.stderr) == ("", "")
