import numpy as np
import pytest

from albef_jax.data.images.decode import decode
from benchmarks.input_pipeline import limit_of_a_process, measure, per_second, read, synthetic


@pytest.fixture(scope="module")
def files():
    return synthetic(2)


def test_synthetic_images_are_as_large_as_photographs(files):
    assert all(80_000 < len(data) < 100_000 for data in files)
    images = [decode(data, "") for data in files]
    assert images[0].shape == (480, 640, 3)
    assert not np.array_equal(*images)


def test_images_of_a_directory_without_broken_ones(files, tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.jpg").write_bytes(files[1])
    (tmp_path / "0.txt").write_bytes(b"no image")
    assert read(tmp_path, 5) == [files[1]]
    with pytest.raises(SystemExit, match="no images"):
        read(tmp_path / "nothing", 5)


def test_a_rate_counts_all_calls():
    calls = []
    assert per_second(calls.append, 0.003) > 0
    assert calls[:3] == [0, 0, 1]


def test_each_stage_has_a_rate(files):
    rates = measure(files, 64, 0.003)
    assert set(rates) > {"decode", "crop_resize", "randaugment", "tokenize", "whole"}
    assert all(rate > 0 for rate in [*rates.values(), limit_of_a_process(0.003)])
