"""What is chosen for a described device, and why: nothing is traced."""

import pytest

from albef_jax.config.auto import MICROBATCHES, OPTIONS, REMATS, change, use_auto, values
from albef_jax.config.defaults import default
from albef_jax.distributed.accelerators import OFFERS, Accelerator
from albef_jax.train.auto_settings import FASTEST_FIRST, SHARES, choose, parts_of
from albef_jax.train.memory import Memory
from albef_jax.validate import CHOICES

GiB = 2**30
V100 = Accelerator("Tesla V100", "gpu", 12 * GiB, 7.0)
AMD = Accelerator("AMD Instinct", "gpu", 48 * GiB)
CPU = Accelerator("cpu", "cpu", 100 * GiB)
H100, V5E = OFFERS["h100"].device, OFFERS["v5e"].device


@pytest.fixture
def config():
    config = default()
    use_auto(config)
    return config


def memory(settings):
    """Less for each kind of recomputation, and for each part."""
    kept = {"none": 80, "dots": 40, "full": 16}[settings["model.remat_image"]]
    return Memory(4 * GiB, GiB, kept * GiB // settings[MICROBATCHES])


def chosen(config, device, parts=(1, 2, 4, 8)):
    return {one.option: one.value for one in choose(config, device, parts, memory)}


def remats(how):
    return dict.fromkeys(REMATS, how)


def test_on_a_cpu_nothing_changes_but_what_must(config):
    plain = values(default())
    assert chosen(config, Accelerator("cpu", "cpu", 200 * GiB)) == plain
    assert chosen(config, CPU) == plain | {MICROBATCHES: 2}


def test_on_a_card_with_bfloat16(config):
    fast = {"model.dtype": "bfloat16", "model.attention": "cudnn", **remats("dots")}
    assert chosen(config, H100) == fast | {MICROBATCHES: 1}
    assert chosen(config, OFFERS["a100-40"].device) == fast | {MICROBATCHES: 2}


def test_on_a_tpu(config):
    wanted = {"model.dtype": "bfloat16", "model.attention": "xla", **remats("dots")}
    assert chosen(config, V5E) == wanted | {MICROBATCHES: 8}


@pytest.mark.parametrize("device", [V100, AMD])
def test_on_a_card_without(config, device):
    found = chosen(config, device)
    assert (found["model.dtype"], found["model.attention"]) == ("float32", "xla")


def test_parts_come_before_the_next_recomputation(config):
    assert chosen(config, V5E, parts=(1, 2)) == {
        **chosen(config, V5E),
        **remats("full"),
        MICROBATCHES: 2,
    }


def test_what_is_given_stays(config):
    change(config, {"model.dtype": "float32", "model.remat_image": "full", MICROBATCHES: 4})
    found = chosen(config, H100)
    assert found == {
        "model.attention": "xla",  # cuDNN's needs bfloat16
        "model.remat_text": "dots",
        "model.remat_fusion": "dots",
    }


def test_flash_attention_by_hand_needs_bfloat16(config):
    config.model.attention = "cudnn"
    assert chosen(config, CPU)["model.dtype"] == "bfloat16"


def test_heads_that_cudnn_does_not_take(config):
    config.model.image_heads = 4
    attention = choose(config, H100, (1,), memory)[1]
    assert attention.value == "xla" and "not 192" in attention.reason


def test_each_option_has_a_line_with_a_reason(config):
    found = choose(config, H100, (1,), memory)
    assert [one.option for one in found] == list(OPTIONS)
    assert all(str(one).startswith(f"auto: {one.option}={one.value}: ") for one in found)
    assert all(len(one.reason) > 10 for one in found)
    assert "about 45.0 GiB a device, within the 50.4 GiB" in found[-1].reason


def test_what_does_not_fit_is_told_with_a_remedy(config):
    small = Accelerator("TPU v5 lite", "tpu", 6 * GiB)
    found = choose(config, small, (1, 2), memory)
    assert found[-1].value == 2 and found[2].value == "full"
    assert "MORE than the 5.1 GiB" in found[-1].reason
    assert "lower train.batch_size, or raise mesh.fsdp" in found[-1].reason


def test_unknown_memory_and_unknown_platforms(config):
    assert chosen(config, Accelerator("new", "new", None)) == values(default())
    assert "is unknown" in choose(config, Accelerator("cpu", "cpu", None), (1,), memory)[-1].reason


def test_without_training(config):
    found = choose(config, H100)
    assert {one.option: one.value for one in found} == {
        **values(default()),
        "model.dtype": "bfloat16",
        "model.attention": "cudnn",
    }


def test_nothing_is_asked_and_nothing_is_estimated():
    def fail(settings):
        raise AssertionError

    assert choose(default(), H100, (1,), fail) == []


def test_parts_are_whole_groups_with_rows_for_every_device():
    assert parts_of(512, 64, 1) == (1, 2, 4, 8)
    assert parts_of(512, 64, 256) == (1, 2)
    assert parts_of(96, 32, 1) == (1,)
    assert parts_of(24, 1, 3) == (1, 2, 4, 8)


def test_the_table_names_what_there_is():
    for ways in FASTEST_FIRST.values():
        assert set(ways) <= set(CHOICES["model.remat_image"])
    assert SHARES.keys() == FASTEST_FIRST.keys()
