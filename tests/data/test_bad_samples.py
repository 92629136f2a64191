import json
import threading

import pytest

from albef_jax.data.bad_samples import BadSamples
from albef_jax.errors import BadSample, TooManyBadSamples


def lines(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def report(bad_samples, name, reason="truncated"):
    bad_samples.requested()
    bad_samples.report(BadSample(name, reason))


def test_each_name_is_written_and_counted_once(tmp_path):
    path = tmp_path / "new" / "bad.jsonl"
    bad_samples = BadSamples(path, 0.5, 100)
    for name in ("a.jpg", "b \n é.jpg", "a.jpg"):
        report(bad_samples, name)
    assert bad_samples.count == 2
    assert lines(path) == [
        {"name": "a.jpg", "reason": "truncated"},
        {"name": "b \n é.jpg", "reason": "truncated"},
    ]


def test_a_bad_sample_is_logged_with_its_name(caplog):
    report(BadSamples(None, 0.5, 100), "photos/7.jpg", "0 bytes")
    assert "photos/7.jpg: 0 bytes" in caplog.text


def test_an_earlier_file_is_continued_even_if_its_last_line_is_torn(tmp_path):
    path = tmp_path / "bad.jsonl"
    report(BadSamples(path, 0.5, 100), "a.jpg")
    with path.open("a") as file:
        file.write('{"name": "b.j')
    again = BadSamples(path, 0.5, 100)
    assert again.count == 1
    for name in ("a.jpg", "c.jpg"):
        report(again, name)
    assert [line["name"] for line in lines(path)] == ["a.jpg", "c.jpg"]


def test_a_foreign_file_is_refused(tmp_path):
    path = tmp_path / "bad.jsonl"
    path.write_text("something else\n")
    with pytest.raises(ValueError, match=r"bad\.jsonl.*delete"):
        BadSamples(path, 0.5, 100)


@pytest.mark.parametrize(
    ("max_share", "size", "allowed"), [(0.01, 192, 1), (0.01, 500, 5), (0.01, 10, 1), (0.0, 500, 0)]
)
def test_the_run_stops_as_soon_as_the_share_is_exceeded(max_share, size, allowed):
    bad_samples = BadSamples(None, max_share, size)
    for _ in range(64):
        bad_samples.requested()
    for number in range(allowed):
        report(bad_samples, f"{number}.jpg")
    with pytest.raises(TooManyBadSamples):
        report(bad_samples, "last.jpg")


def test_a_stopped_run_stops_again(tmp_path):
    path = tmp_path / "bad.jsonl"
    first = BadSamples(path, 0.01, 100)
    report(first, "a.jpg")
    with pytest.raises(TooManyBadSamples):
        report(first, "b.jpg")
    with pytest.raises(TooManyBadSamples):
        report(BadSamples(path, 0.01, 100), "a.jpg")


def test_the_message_says_why_and_what_to_do(tmp_path):
    path = tmp_path / "bad.jsonl"
    bad_samples = BadSamples(path, 0.05, 100)
    reasons = ["0 bytes", "truncated", "truncated", "missing", "missing"]
    for number, reason in enumerate(reasons):
        report(bad_samples, f"{number}.jpg", reason)
    with pytest.raises(TooManyBadSamples) as stop:
        report(bad_samples, "5.jpg", "missing")
    message = str(stop.value)
    assert "6 of 100 samples (6.00%)" in message
    assert "data.max_bad_share=0.05" in message
    order = ["3 x missing, as 3.jpg", "2 x truncated, as 1.jpg", "1 x 0 bytes, as 0.jpg"]
    assert sorted(order, key=message.index) == order
    assert str(path) in message


def test_a_bad_start_stops_the_run_before_the_share_is_reached():
    bad_samples = BadSamples(None, 0.01, 1_000_000)
    for number in range(32):
        report(bad_samples, f"{number}.jpg")
    with pytest.raises(TooManyBadSamples, match="33 of the first 33 reads failed"):
        report(bad_samples, "32.jpg")


def test_half_bad_later_on_is_judged_by_the_share_only():
    bad_samples = BadSamples(None, 0.01, 1_000_000)
    for _ in range(64):
        bad_samples.requested()
    for number in range(200):
        report(bad_samples, f"{number}.jpg")
    assert bad_samples.count == 200


def test_threads_may_share_it(tmp_path):
    path = tmp_path / "bad.jsonl"
    bad_samples = BadSamples(path, 1.0, 100)
    for _ in range(64):
        bad_samples.requested()
    work = [
        threading.Thread(target=lambda: [report(bad_samples, f"{n}.jpg") for n in range(50)])
        for _ in range(4)
    ]
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()
    assert bad_samples.count == 50
    assert sorted(line["name"] for line in lines(path)) == sorted(f"{n}.jpg" for n in range(50))


def test_other_processes_write_beside_it_until_the_first_takes_over(tmp_path):
    path = tmp_path / "bad.jsonl"
    first, second = BadSamples(path, 0.03, 100), BadSamples(path, 0.03, 100, process=1)
    report(first, "a.jpg")
    for name in ("a.jpg", "b.jpg"):
        report(second, name)
    assert [line["name"] for line in lines(path)] == ["a.jpg"]
    assert [line["name"] for line in lines(tmp_path / "bad-1.jsonl")] == ["a.jpg", "b.jpg"]
    second.merge()
    assert (first.count, second.count) == (1, 2)
    for _ in range(2):
        first.merge()
        assert [line["name"] for line in lines(path)] == ["a.jpg", "b.jpg"] and first.count == 2
    report(second, "c.jpg")
    first.merge(last=True)
    assert first.count == 3 and not (tmp_path / "bad-1.jsonl").exists()
    third = BadSamples(path, 0.5, 100, process=2)  # knows of three, and finds the fourth
    assert third.count == 3
    report(third, "d.jpg")
    with pytest.raises(TooManyBadSamples, match="4 of 100"):
        first.merge()
