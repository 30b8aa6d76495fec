"""The page docs/head_sharing.md, and what its training has learned."""

import re
from pathlib import Path

import numpy as np
import pytest

PAGE = Path(__file__).parents[2] / "docs" / "head_sharing.md"


@pytest.mark.slow
def test_a_notebook_shares_a_head(tmp_path, monkeypatch):
    (example,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.S | re.M)
    names: dict = {}
    monkeypatch.chdir(tmp_path)
    exec(compile(example, str(PAGE), "exec"), names)
    assert names["accuracy"] > 0.9
    history = names["fitted"].history
    for name in ("logits", "logits_kd", "embedding_teacher_head"):
        assert history[name][-1] < history[name][0]
    assert np.isfinite(history["loss"]).all()
