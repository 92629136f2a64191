import json
from pathlib import Path

import pytest

from albef_jax.config.defaults import default
from albef_jax.evaluate import queries
from albef_jax.report.comparison import compare, lines, page
from albef_jax.report.runs import MOST, CannotCompare, read_runs
from tests.helpers.report_page import Page


def line(step, **metrics):
    return {"step": step, "loss": 8.0, "pairs_per_s": 64.0, "data_wait": 0.05, **metrics}


LOGGED = (line(20), line(40, loss=7.0))


def results(r1, step=40, images=500, on="500 unseen scenes"):
    recalls = {"r1": r1, "r5": 60.0, "r10": 70.0}
    return {
        "task": "pretrain",
        "preset": "demo",
        "step": step,
        "evaluated_on": on,
        "retrieval": {"itc": {"text_retrieval": recalls}, "images": images, "chance_r1": 0.2},
    }


@pytest.fixture
def workdir(tmp_path):
    """Writes what a run leaves, and gives its path as a text."""

    def write(name, logged=LOGGED, found=None, task="pretrain", **options):
        config = default(task)
        config.train.batch_size = 64
        config.update_from_flattened_dict(options)
        path = tmp_path / name
        path.mkdir(parents=True)
        (path / "config.json").write_text(config.to_json())
        (path / "metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in logged))
        if found:
            (path / "results.json").write_text(json.dumps(found))
        return str(path)

    return write


def cells(rows):
    return {row.name: row.cells for row in rows}


def test_only_options_that_differ_are_shown_with_their_values(workdir):
    slow = workdir("slow", **{"optimizer.lr": 1e-4, "preset": "demo"})
    found = compare(read_runs([slow, workdir("fast", **{"optimizer.lr": 1e-3})]))
    assert cells(found.settings) == {"optimizer.lr": ["0.0001", "0.001"]}
    assert found.names == ["slow", "fast"]


def test_a_option_younger_than_a_run_has_its_default_there(workdir, tmp_path):
    old, new = workdir("old"), workdir("new")
    config = json.loads((tmp_path / "old" / "config.json").read_text())
    del config["train"]["microbatches"]
    (tmp_path / "old" / "config.json").write_text(json.dumps(config))
    assert compare(read_runs([old, new])).settings == []


def test_queries_that_changed(workdir):
    runs = [workdir("a", found=results(1.0)), workdir("b", found=results(2.0)), workdir("c")]
    for name, right in (("a", (1, 1, 0, "")), ("b", (1, 0, 1, ""))):
        rows = [
            {"query": n, "text": f"text <{n}>", "right": one, "doubt": 0.5}
            for n, one in enumerate(right)
        ]
        queries.write(Path(runs["ab".index(name)]), rows)
    found = compare(read_runs(runs))
    ((name, change),) = found.changes  # c has no queries
    assert (name, change.gained, change.lost, change.same) == (
        "b", [("2", "text <2>")], [("1", "text <1>")], 1,
    )  # fmt: skip
    assert "b: 1 queries right that a has wrong, 1 the other way round, 1 as before" in lines(found)
    assert "2: text &lt;2&gt;" in page(found)


def test_scores_are_the_evaluations_and_the_best_of_a_row_is_marked(workdir):
    runs = read_runs([workdir("a", found=results(31.25)), workdir("b", found=results(52.0))])
    found = compare(runs)
    assert cells(found.scores) == {
        "ITC, captions for an image, R@1": ["31.2", "52.0"],
        "ITC, captions for an image, R@5": ["60.0", "60.0"],
        "ITC, captions for an image, R@10": ["70.0", "70.0"],
    }
    assert [row.best for row in found.scores] == [{1}, frozenset(), frozenset()]
    assert found.warnings == []


def test_what_makes_figures_unlike_is_told(workdir):
    here = workdir("here", found=results(30, step=20))
    there = workdir("there", found=results(30, images=100, on="100 scenes"))
    none = workdir("none")
    assert compare(read_runs([here, there, none])).warnings == [
        "here was evaluated before its last logged step.",
        "none has not been evaluated: no results.json.",
        "The runs were evaluated on different data.",
        "The evaluations differ in images.",
    ]


def test_training_has_medians_and_the_time_of_all_steps(workdir):
    logged = [line(20, pairs_per_s=8.0), line(40), line(60, data_wait=0.5, skipped=3)]
    found = cells(compare(read_runs([workdir("a", logged), workdir("b")])).training)
    assert found["step"] == ["60", "40"]
    assert found["last loss"] == ["8", "7"]
    assert found["pairs a second"] == ["64", "64"]
    assert found["waiting for data, %"] == ["5.0", "5.0"]
    # 20 steps of 64 pairs take 160 seconds at 8 pairs a second, and 20 at 64.
    assert found["time, h:mm:ss"] == ["0:03:20", "0:00:40"]
    assert found["steps skipped"] == ["3", "–"]
    assert "mfu, %" not in found


def test_a_curve_keeps_its_runs_colour_in_every_chart(workdir):
    without = workdir("a")
    found = compare(read_runs([without, workdir("b", [line(10, loss_itm=0.6, loss_itc=4.0)])]))
    read = Page(page(found))
    titles = [svg["aria-label"] for svg in read.all("svg")]
    assert titles[:3] == [
        "Loss, the sum",
        "Loss of each objective, log axis: contrast (ITC)",
        "Loss of each objective, log axis: matching (ITM)",
    ]
    assert [group["class"] for group in read.all("g")][:4] == [
        "series1",
        "series2",
        "series2",
        "series2",
    ]


def test_the_page_needs_nothing_else_and_escapes_what_it_shows(workdir):
    names = ["<script>alert(1)</script>=" + workdir("a"), workdir("b")]
    read = Page(page(compare(read_runs(names))))
    assert not read.all("script") and not read.all("link") and not read.all("img")
    assert read.all("meta", **{"http-equiv": "Content-Security-Policy"})
    assert "<script>alert(1)</script>" in read.text
    targets = {attributes.get("id") for _, attributes in read.tags}
    assert {link["href"].removeprefix("#") for link in read.all("a")} <= targets


def test_the_terminal_has_the_same_tables(workdir):
    slow = workdir("slow", found=results(31.25), **{"optimizer.lr": 1e-4})
    text = lines(compare(read_runs([slow, workdir("fast")])))
    assert text[0].split() == ["slow", "fast"]
    assert any(row.split() == ["step", "40", "40"] for row in text)
    assert any("R@1" in row and row.split()[-2:] == ["31.2", "–"] for row in text)
    assert text[-1] == "fast has not been evaluated: no results.json."


def test_names_may_be_given(workdir):
    assert [run.name for run in read_runs(["x=" + workdir("a/run"), "y=" + workdir("b/run")])] == [
        "x",
        "y",
    ]


def test_what_cannot_be_compared_is_told_with_its_remedy(workdir, tmp_path):
    run, other = workdir("a/run"), workdir("b/run")
    empty = workdir("empty", logged=[])
    broken = workdir("broken", logged=[{"loss": 1.0}])
    vqa = workdir("vqa", task="vqa")
    (tmp_path / "bare").mkdir()
    for given, message in [
        ([run], "name 2 to 8 workdirs, not 1"),
        ([run] * (MOST + 1), "not 9"),
        ([run, str(tmp_path / "bare")], r"bare: no config\.json"),
        ([run, str(tmp_path / "gone")], r"gone: no config\.json"),
        ([run, empty], r"empty: no line in metrics\.jsonl"),
        ([run, broken], "a line has no 'step'"),
        ([run, vqa], "run is a run of pretrain, .*vqa of vqa"),
        ([run, f"again={run}"], "is named twice"),
        ([run, other], "are both called run; give one another name, as in other=.*b/run"),
    ]:
        with pytest.raises(CannotCompare, match=message):
            read_runs(given)


def test_a_damaged_file_is_named(workdir, tmp_path):
    run, other = workdir("a"), workdir("b")
    (tmp_path / "b" / "results.json").write_text("{")
    with pytest.raises(CannotCompare, match=r"results\.json: not JSON"):
        read_runs([run, other])
