"""Plans: each figure follows from the inputs, and mistakes are told."""

import pytest

from albef_jax.config.auto import values
from albef_jax.distributed.accelerators import OFFERS
from albef_jax.plan.length import Items, items, steps
from albef_jax.plan.planned import plan
from albef_jax.plan.told import as_json, in_words
from tests.helpers.pages import DOCS, ROOT, rows
from tests.helpers.recipes import recipe
from tests.helpers.tiny_run import scenes_config, task_config

RESULTS = ROOT / "benchmarks" / "results"
# The table in docs/scaling.md.
RENTED = [("a100-40", 1), ("a100", 8), ("h100", 8), ("v5e", 16), ("v5p", 64)]


def made(config, device="h100", count=1, **given):
    return plan(config, device, count, RESULTS, **given)


@pytest.fixture(scope="module")
def plans():
    config = recipe("pretrain", "4m")
    return {(device, count): made(config, device, count) for device, count in RENTED}


@pytest.mark.parametrize("rented", RENTED, ids=str)
def test_the_figures_follow_from_the_inputs(plans, rented):
    one = plans[rented]
    told = as_json(one)
    assert one.fits and told["memory"]["total"] == one.memory.total <= one.budget
    assert one.steps == 30 * (one.epoch.count // 512)
    expected = one.speed.expected
    assert told["hours"]["expected"] == pytest.approx(
        one.steps * 512 / expected.pairs_per_s / 3600, abs=1e-3
    )
    assert told["device_hours"]["expected"] == pytest.approx(
        one.count * one.hours["expected"], 1e-3
    )
    assert expected.pairs_per_s < one.speed.bound.pairs_per_s < one.speed.at_peak.pairs_per_s
    assert expected.pairs_per_s * one.flops == pytest.approx(
        expected.share * one.speed.at_peak.pairs_per_s * one.flops
    )
    assert one.cores == pytest.approx(expected.pairs_per_s / 405.5 / one.hosts)
    assert expected.assumed == (one.device != "h100")


def test_the_table_in_the_documentation_is_what_the_command_says(plans):
    told = {
        row[0].strip("`"): row[1:] for row in rows(DOCS / "scaling.md", "## Plan before renting")
    }
    assert len(told) == len(plans)
    for (device, count), one in plans.items():
        chosen = {choice.option: choice.value for choice in one.settings}
        assert told[f"--device={device} --count={count}"] == [
            f"{chosen['model.attention']}, {chosen['train.microbatches']} part(s)",
            f"{one.memory.total / 2**30:.1f} of {one.budget / 2**30:.1f}",
            f"{one.speed.bound.pairs_per_s:,.0f}",
            f"{one.speed.expected.pairs_per_s:,.0f}",
            f"{one.hours['expected']:,.1f}",
            f"{one.count * one.hours['expected']:,.0f}",
            f"{one.cores:.1f}",
        ]


def test_more_devices_take_less_each(plans):
    eight, one = plans["a100", 8], plans["a100-40", 1]
    assert eight.memory.state == one.memory.state == eight.checkpoint
    assert eight.pairs == 64 and one.pairs == 256  # of two parts


def test_words_name_what_is_assumed_and_what_is_not_in_it(plans):
    text = "\n".join(in_words(plans["v5p", 64]))
    for words in (
        "assumed: the share of the peak as measured",
        "8 pairs at a time are fewer than the 64 of the records",
        "the settings of auto; the recipe has others",
        "the paper's table of pre-training data",
        "evaluation and saving are not in the hours",
        "9.8 GiB: 2 kept and one being written, 3.25 GiB each",
    ):
        assert words in text
    assert "assumed" not in "\n".join(in_words(plans["h100", 8]))


def test_the_best_step_takes_room_too():
    """And files of validation are not looked for."""
    config = task_config("entailment")
    config.data.update({"val_files": "dev.json", "also_eval_files": "dev=dev.json"})
    assert made(config).kept == 2
    config.evaluation.every = "1 epoch"
    assert made(config).kept == 3


def test_a_task_whose_operations_are_not_counted():
    one = made(task_config("vqa"))
    assert one.speed is None and one.cores is None and one.hours == {}
    text = "\n".join(in_words(one))
    assert "cannot be said: speed, hours and cores" in text
    assert "steps                 4, 32 items" in text


def test_the_settings_of_the_recipe():
    config = scenes_config()
    one = made(config, as_configured=True)
    assert {choice.option: choice.value for choice in one.settings} == values(config)
    assert "another" in " ".join(one.notes)  # than the base model
    config.model.dtype = "auto"
    with pytest.raises(ValueError, match=r"--as_configured: model\.dtype are auto"):
        made(config, as_configured=True)


def test_length_buckets_are_noted():
    config = scenes_config()
    plain = made(config)
    config.data.text_buckets = "8,25"
    one = made(config)
    assert one.flops == plain.flops and len(one.notes) == len(plain.notes) + 1
    assert "data.text_buckets saves some of them" in " ".join(one.notes)


def test_sharded_parameters_are_a_part_on_each_device_and_whole_on_the_disk():
    config = scenes_config()
    config.mesh.fsdp = 4
    one = made(config, count=4)
    assert one.checkpoint > one.memory.state


@pytest.mark.parametrize(
    ("device", "count", "said"),
    [
        ("h1000", 8, "choose one of h100, .*did you mean h100"),
        ("h100", 0, "--count=0: give at least 1"),
        ("h100", 12, "a multiple of the 8 devices"),
        ("v5e", 6, "a multiple of the 4 devices"),
        ("h100", 3, r"train\.batch_size=8 does not divide over 3 devices; the nearest is 9"),
    ],
)
def test_mistakes(device, count, said):
    with pytest.raises(ValueError, match=said):
        made(scenes_config(), device, count)


def test_a_mesh_that_does_not_go_with_the_number():
    config = scenes_config()
    config.mesh.fsdp = 3
    with pytest.raises(ValueError, match=r"mesh\.fsdp=3 does not divide the 4 devices"):
        made(config, count=4)
    with pytest.raises(ValueError, match="nothing to plan"):
        made(recipe("zero_shot"))


def test_items_are_given_counted_or_of_the_paper(tmp_path):
    config = recipe("pretrain", "14m")
    assert items(config, None).count == 15_206_000
    assert items(config, 5000) == Items(5000, "as given")
    with pytest.raises(ValueError, match="--pairs=100"):
        items(config, 100)
    (tmp_path / "a.json").write_text('[{"image": "a.jpg", "caption": "a"}]')
    (tmp_path / "b.jsonl").write_text('{"image": "b.jpg", "caption": "b"}\n' * 2)
    config.data.update({"root": str(tmp_path), "train_files": "a.json,b.jsonl"})
    assert items(config, None) == Items(3, "counted in data.train_files")
    config.data.train_files = "gone.json"
    assert items(config, None) is None and steps(config, None) is None
    config.data.source = "webdataset"
    assert items(config, None) is None
    assert items(scenes_config(), None).count == 50
    assert steps(scenes_config(), None) == scenes_config().train.steps


def test_every_offer_can_be_planned():
    for device in OFFERS:
        assert made(scenes_config(), device).speed.expected
