"""The ablation: what it would run, in which order, what it does after a failure, and its page."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from albef_jax.validate import validate
from benchmarks.ablation import __main__ as command
from benchmarks.ablation import figures, page, running
from benchmarks.ablation.plan import ROWS, SIZES, Cell, Size, cell_of, cells
from benchmarks.ablation.record import Record
from tests.helpers.recipes import recipe

SMALL = Size(0.4, (0.0, 0.4), 2, {stage: {} for stage in SIZES["cpu"].options})
RETRIEVAL = {
    "text_retrieval": {"r1": 10.0, "r5": 20.0, "r10": 30.0},
    "image_retrieval": {"r1": 40.0, "r5": 50.0, "r10": 60.0},
}

# Stands in for `albef_jax.main`: a run that says how well it went, or breaks.
RUN = """
import json, os, pathlib, sys
folder = pathlib.Path(sys.argv[sys.argv.index("--workdir") + 1])
if "seed1" in str(folder) and folder.name == "pretrain":
    sys.exit("broken")
folder.mkdir(parents=True)
alone = os.getsid(0) == os.getpid()  # Ctrl-C of the terminal does not reach it
(folder / "results.json").write_text(json.dumps({"alone": alone}))
"""


def configured(command: tuple[str, ...]):
    """The configuration that `albef_jax.main` makes of its arguments."""
    config = recipe(Path(command[1]).stem)
    for word in command[4:]:
        name, _, text = word.removeprefix("--config.").partition("=")
        kind = kind_of(config, name)
        value = text == "True" if kind is bool else kind(text)
        config.update_from_flattened_dict({name: value})
    return config


def kind_of(config, name: str) -> type:
    """The type of an option."""
    *parts, last = name.split(".")
    for part in parts:
        config = config[part]
    return config.get_type(last)


def finish(cell, results) -> None:
    cell.folder.mkdir(parents=True)
    (cell.folder / "results.json").write_text(json.dumps(results))


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_every_run_has_a_configuration_that_is_valid(size, tmp_path):
    for cell in cells(tmp_path, size, tuple(ROWS), curves=True):
        if cell.seed == 0:
            if cell.needs:
                cell.needs.mkdir(parents=True, exist_ok=True)
            validate(configured(cell.command))


def test_rows_differ_in_what_they_are_named_after(tmp_path):
    def options(row, stage="pretrain"):
        cell = cell_of(tmp_path, SMALL, stage, ROWS[row], 0.4, 0)
        return {word for word in cell.command if word.startswith("--config.")}

    names = list(ROWS)
    changed = [options(b) - options(a) for a, b in pairwise(names)]
    assert changed == [
        {"--config.train.losses=itc,mlm,itm"},
        {"--config.train.negatives=hard"},
        {"--config.train.distilled=itc"},
        {"--config.train.distilled=itc,mlm"},
        set(),
    ]
    assert options("downstream", "vqa") - options("distilled", "vqa") == {
        "--config.train.distill=True"
    }


def test_parents_come_first_and_shared_runs_once(tmp_path):
    found = cells(tmp_path, SMALL, tuple(ROWS), curves=True)
    folders = [cell.folder for cell in found]
    assert len(set(folders)) == len(folders)
    assert all(
        cell.needs is None or cell.needs in folders[:place] for place, cell in enumerate(found)
    )
    # Five pre-trainings of six rows, and two more at the other noise; with two seeds each.
    assert sum(cell.stage == "pretrain" for cell in found) == 2 * (5 + 2)


def test_some_stages_bring_what_they_start_from(tmp_path):
    found = cells(tmp_path, SMALL, ("itc",), curves=False, seeds=1, stages=("nlvr",))
    assert [cell.stage for cell in found] == ["pretrain", "assignment", "nlvr"]


def test_a_broken_run_keeps_back_its_own_children_alone(tmp_path, monkeypatch):
    (tmp_path / "stand_in.py").write_text(RUN)
    monkeypatch.setattr(running, "ROOT", tmp_path)
    monkeypatch.setattr(running, "_WAIT", 0.02)
    planned = cells(tmp_path / "runs", SMALL, ("itc",), curves=False)
    said: list[str] = []
    finished: list[Cell] = []
    failed = running.run_all(planned, 2, finished.append, said.append, main="stand_in")
    assert {cell.seed for cell in failed} == {1}
    assert len(failed) == 6
    assert {cell.name for cell in finished} == {cell.name for cell in planned if cell.seed == 0}
    results = [cell.folder / "results.json" for cell in finished]
    assert all(json.loads(written.read_text())["alone"] for written in results)
    (broken,) = (line for line in said if line.startswith("FAILED"))
    assert "broken" in (failed[0].folder.with_name("pretrain.log")).read_text()
    assert str(failed[0].folder.with_name("pretrain.log")) in broken


def test_results_of_an_earlier_run_do_not_hide_a_failure(tmp_path, monkeypatch):
    (tmp_path / "stand_in.py").write_text("raise SystemExit('broken')")
    monkeypatch.setattr(running, "ROOT", tmp_path)
    monkeypatch.setattr(running, "_WAIT", 0.02)
    cell = cell_of(tmp_path / "runs", SMALL, "pretrain", ROWS["itc"], 0.4, 0)
    finish(cell, {})
    finished: list[Cell] = []
    failed = running.run_all([cell], 1, finished.append, lambda line: None, main="stand_in")
    assert (failed, finished) == ([cell], [])


def test_what_is_recorded_is_not_run_again(tmp_path):
    planned = cells(tmp_path / "runs", SMALL, ("itc",), curves=False, seeds=1)
    by_stage = {cell.stage: cell for cell in planned}
    record = Record(tmp_path / "kept" / "figures.json")
    assert record.missing(planned) == planned
    for cell in planned:
        record.keep(cell, {"VQA": 50.0} if cell.stage == "vqa" else {})
    again = Record(record.path)
    assert again.missing(planned) == []
    assert again.figures(by_stage["vqa"]) == {"VQA": 50.0}

    # A seed more: nothing of the first is run again, and the workdirs are anywhere.
    more = cells(tmp_path / "elsewhere", SMALL, ("itc",), curves=False)
    assert {cell.seed for cell in again.missing(more)} == {1}

    # Another number of steps for NLVR2: its parent's parent is gone, and has to be run again.
    other = replace(SMALL, options={**SMALL.options, "nlvr": {"train.steps": 7}})
    changed = cells(tmp_path / "runs", other, ("itc",), curves=False, seeds=1)
    assert [cell.stage for cell in again.missing(changed)] == ["pretrain", "assignment", "nlvr"]
    finish(by_stage["assignment"], {})
    assert [cell.stage for cell in again.missing(changed)] == ["nlvr"]

    # Other pre-training: everything after it, too.
    other = replace(SMALL, options={**SMALL.options, "pretrain": {"train.steps": 7}})
    changed = cells(tmp_path / "runs", other, ("itc",), curves=False, seeds=1)
    assert again.missing(changed) == changed


def test_means_spread_and_page(tmp_path):
    size, record = SIZES["cpu"], Record(tmp_path / "figures.json")
    for seed, accuracy in ((0, 70.0), (1, 80.0)):
        vqa = cell_of(tmp_path, size, "vqa", ROWS["hard"], size.noise, seed)
        record.keep(vqa, figures.reached("vqa", {"answers": {"unseen": {"accuracy": accuracy}}}))
    for noise in (0.0, 0.4):
        cell = cell_of(tmp_path, size, "pretrain", ROWS["hard"], noise, 0)
        record.keep(cell, figures.reached("pretrain", {"retrieval": {"itm": RETRIEVAL}}))
    table, curves = figures.table(record, size), figures.curves(record, size)
    assert table["hard"]["VQA"] == (75.0, pytest.approx(7.071, abs=1e-3), (70.0, 80.0))
    assert table["itc"] == {}
    assert curves["captions for an image"]["hard"][0.4] == (20.0, None, (20.0,))
    assert curves["images for a caption"]["hard"][0.0].mean == 50.0
    docs = tmp_path / "docs"
    written = page.write(docs, "the command", size, table, curves).read_text()
    assert "2 seeds a cell so far, of 3" in written
    # What people have written stays.
    (docs / "ablation.md").write_text(written.rstrip() + "\n\nIt helps.\n")
    again = page.write(docs, "another command", size, table, curves).read_text()
    assert again.endswith("## What it shows\n\nIt helps.\n") and "another command" in again
    assert "| + hard negatives |  |  |  |  | 75.0 ± 7.1 |" in written
    assert "| captions for an image, without | 20.0 | 20.0 |" in written
    assert (tmp_path / "docs" / "images" / "ablation_noise.svg").read_text().startswith("<?xml")


def test_the_list_runs_nothing(tmp_path, capsys):
    assert command.main([f"--root={tmp_path}", "--rows", "itc", "--no_curves", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "0 of 18 runs are recorded"
    assert len(lines) == 19
    assert not any(line.startswith("done") for line in lines)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("option", ["--jobs=0", "--seeds=0"])
def test_numbers_must_be_some(option, capsys):
    with pytest.raises(SystemExit):
        command.arguments([option])
    assert f"{option}: must be 1 or more" in capsys.readouterr().err
