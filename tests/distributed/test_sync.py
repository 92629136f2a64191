"""Two real processes: what they tell each other, where arrays are, and how they part."""

import json

import pytest

from albef_jax.distributed.initialize import LOST
from tests.helpers.processes import group_flags, started

ACTS = "tests/helpers/acts.py"


# What is tried: the name of the act, flags, and which processes of a group of two take part.
TRIED = {
    "meeting": ("meeting", (), (0, 1)),
    "losing": ("losing", ("--seconds=10",), (0, 1)),
    "failing": ("failing", ("--seconds=10",), (0, 1)),
    "nobody listens": ("meeting", ("--seconds=1",), (1,)),
    "nobody comes": ("meeting", ("--seconds=1",), (0,)),
}


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """Exit codes, and what each process printed. All start at once: most of the time they wait."""
    commands = {}
    for name, (act, flags, taking_part) in TRIED.items():
        folder, group = str(tmp_path_factory.mktemp(act)), group_flags()
        commands[name] = [[ACTS, act, folder, *group[number], *flags] for number in taking_part]
    every = [command for some in commands.values() for command in some]
    with started(every, forked=True) as processes:
        found, left = {}, iter(processes)
        for name, some in commands.items():
            own = [next(left) for _ in some]
            found[name] = [one.end() for one in own], [one.text for one in own]
    return found


def told(texts):
    return [json.loads(next(x for x in text.splitlines() if x.startswith("{"))) for text in texts]


@pytest.fixture(scope="module")
def met(outcome):
    """What each process printed."""
    codes, texts = outcome["meeting"]
    assert codes == [0, 0], texts
    return texts


def test_agreeing(met):
    first, second = (one["agreeing"] for one in told(met))
    assert "only once: 0" in met[0] and "only once" not in met[1]
    assert first["gathered"] == second["gathered"]
    assert [one["number"] for one in first["gathered"]] == [0, 1]
    assert first["gathered"][1]["long"] == "ä" * 2000
    assert first["from_first"] == second["from_first"] == 5
    assert (first["on_one"], second["on_one"]) == ("process 1: no such file", "no such file")
    for one in (first, second):
        assert one["on_none"] is one["same"] is one["shared"] is None
        assert "process 1 has another steps than process 0: 11 instead of 10" in one["different"]
        assert "another directory for process(es) 1 than for process 0" in one["not_shared"]
        assert one["left"] == []


def test_arrays(met):
    rows = [[2.0 * row, 2.0 * row + 1] for row in range(8)]
    for one in (one["arrays"] for one in told(met)):
        assert one["doubled"] == [[2 * a, 2 * b] for a, b in rows]
        assert one["over_fsdp"] == rows
        assert one["equal"] and one["spec"] == "True"
        assert one["owners"] == [0, 0, 1, 1]
        assert one["votes"] == [0, 0, 15, 0] and one["last_vote"] == 2


def test_the_longest_text_of_all_processes_decides_the_width(met):
    first, second = (one["widths"] for one in told(met))
    assert first["widths"] == second["widths"] == [4, 12, 12, 4]
    assert (first["tokens"], second["tokens"]) == ([7, 11, 4, 8], [5, 10, 16, 5])
    for one in (first, second):
        assert one["equal"] and one["images"] == [12] * 4


def test_each_process_reads_its_rows_and_is_told_of_the_others(met):
    """Records 6 and 7 show what 0 and 1 show, which other processes have read."""
    found = [one["reading"] for one in told(met)]
    assert [one["read"] for one in found] == [[0, 1, 4, 5], [2, 3, 6, 7]]
    assert [one["kept"] for one in found] == [[0, 10, 40, 50], [20, 30]]
    for number, one in enumerate(found):
        assert one["shares"] == [[0, 1, 4, 5], [2, 3]]
        assert one["captions"] == [f"red {index}" for index in range(8)]
        assert one["image_of_text"] == [0, 1, 2, 3, 4, 5, 0, 1]
        assert one["same_pixels"] == 2
        assert one["shown"] == {"0": 0, "2": 20, "5": 50}
        assert one["rows"] == [[], [[2**40]]]
        assert one["local_rows"] == [[2.0 * row + 8 * number for row in range(4)]] * 2


def test_what_one_process_cannot_read_all_pass_over(met):
    warning = "a block is lost (process 1). Falling back to step 2"
    assert warning in met[0] and warning not in met[1]
    for one in (one["falling_back"] for one in told(met)):
        assert one["whole"] == {"2": None, "4": None} and one["sealed"] > 3
        assert (one["step"], one["value"]) == (2, 2.0)
        assert one["kept"] == ["2", "broken-4"] and one["then"] == ["2", "4", "broken-4"]


@pytest.mark.parametrize("name, code", [("losing", -9), ("failing", 2)])
def test_a_lost_process_ends_the_others_with_a_code_of_its_own(name, code, outcome):
    codes, texts = outcome[name]
    assert codes == [LOST, code], texts
    assert f"ends with code {LOST}: start all again" in texts[0]


def test_nobody_listens(outcome):
    (code,), (text,) = outcome["nobody listens"]
    assert code != 0
    assert "process 1 of 2: no coordinator at 127.0.0.1:" in text


def test_nobody_comes(outcome):
    codes, (text,) = outcome["nobody comes"]
    assert codes == [LOST]
    assert "the processes did not all come to 127.0.0.1:" in text
