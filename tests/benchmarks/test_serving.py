import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "serving.py"


@pytest.mark.slow
def test_every_case_is_measured():
    flags = ["--seconds=0.05", "--rounds=1", "--mixed_seconds=3"]
    result = subprocess.run(
        [sys.executable, str(BENCHMARK), *flags], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    cases = {line["case"]: line for line in map(json.loads, result.stdout.splitlines())}
    cells = [
        f"{kind}_b{batch}_c{callers}"
        for kind in ("jpeg", "uint8")
        for batch in (1, 8, 32)
        for callers in (1, 8, 32)
    ]
    assert [*cases] == [
        *cells,
        *("embedded_overhead_ms_b1", "embedded_vs_inprocess_b32", "client_cpu"),
        *("embedded_overhead_ms_b1_jpeg", "embedded_vs_inprocess_b32_jpeg", "client_cpu_jpeg"),
        "mixed_load",
    ]
    for cell in cells:
        line = cases[cell]
        assert 0 < line["p50_ms"] <= line["p99_ms"]
        assert line["ratio"] == pytest.approx(line["value"] / line["against"], rel=1e-2)
    assert 0 < cases["client_cpu"]["value"] < 1
    mixed = cases["mixed_load"]
    assert (mixed["value"], mixed["bad_taken"]) == (0, 0)
    assert mixed["good"] > mixed["bad"] > 0
