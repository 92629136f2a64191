import json
import sys

import pytest

from albef_jax.storage import settings
from benchmarks.bucket_input import main


def test_a_sample_is_about_one_request_of_its_own_size(capsys, monkeypatch, tmp_path):
    for module in ("moto", "s3fs"):
        pytest.importorskip(module)
    monkeypatch.setattr(settings, "_current", settings.current())
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "")  # what the benchmark sets is put back
    for name in ("AWS_DEFAULT_REGION", "AWS_EC2_METADATA_DISABLED"):
        monkeypatch.setenv(name, "")
    sizes = ["--shards=2", "--samples=24", "--batch=4", "--latency_ms=2", "--step_ms=2"]
    monkeypatch.setattr(sys, "argv", ["bucket_input", *sizes])
    main()
    found = json.loads(capsys.readouterr().out)
    first, later = found["first_epoch"], found["from_the_cache"]
    assert 0 < first["requests_per_pair"] <= 1.1 and 80 < first["kb_per_pair"] < 140
    assert later["requests_per_pair"] == later["kb_per_pair"] == 0
    assert 0 <= later["data_wait"] <= 1 and later["pairs_per_s"] > 0
