import shutil
import subprocess

import pytest


def test_only_this_host_is_admitted(unit):
    assert unit["IPAddressDeny"] == ["any"]
    assert unit["IPAddressAllow"] == ["localhost"]


def test_the_server_may_do_little_but_compile(unit):
    assert unit["DynamicUser"] == ["yes"]
    assert unit["ProtectSystem"] == ["strict"]
    assert unit["CapabilityBoundingSet"] == [""]
    assert "MemoryDenyWriteExecute" not in unit  # oneDNN would die


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd")
def test_systemd_understands_every_line(serving, tmp_path):
    text = (serving / "systemd" / "tensorflow-serving.service").read_text()
    copy = tmp_path / "tensorflow-serving.service"
    copy.write_text(text.replace("/usr/bin/tensorflow_model_server", "/bin/true"))
    checked = subprocess.run(
        ["systemd-analyze", "verify", str(copy)], capture_output=True, text=True
    )
    # It also complains about units of the host.
    assert "tensorflow-serving" not in checked.stderr
