"""Changes of a model from the command line: what is no change of it is named."""

import sys

import pytest

from albef_jax.models.config import preset
from benchmarks import train_step
from benchmarks.model_changes import changed


def test_each_type_of_option():
    changes = ["remat_image=dots", "unroll=2", "dropout=0", "attention_dropout=0.2"]
    model = changed(preset("base"), changes)
    assert (model.remat_image, model.unroll) == ("dots", 2)
    assert (model.dropout, model.attention_dropout) == (0.0, 0.2)
    assert changed(preset("base"), []) == preset("base")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("widht=3", "no option=value of the model, which has image_size"),
        ("dropout", "no option=value"),
        ("image_tokens=3", "no option=value"),
        ("unroll=fast", "unroll=fast: is no whole number"),
        ("unroll=0", "unroll=0: must be positive"),
        ("dropout=-1", "must be positive"),
        ("dropout=much", "is no number"),
        ("attention=flash", "attention=flash: choose xla or cudnn"),
        ("remat_text=all", "remat_text=all: choose none or dots or full"),
        ("dtype=bf16", "dtype=bf16: choose float32 or bfloat16"),
        ("image_heads=5", "image_width=768: must be a multiple of image_heads=5"),
        ("attention=cudnn", "needs dtype=bfloat16"),
    ],
)
def test_what_is_no_change_is_named(change, said):
    with pytest.raises(ValueError) as ended:
        changed(preset("base"), [change])
    assert said in str(ended.value)


def test_variants_of_a_step_are_refused_in_one_line(monkeypatch):
    """`attention=flash` was measured as `xla`, under its own name."""
    words = ["train_step", "--preset=tiny", "--variants", "fused,attention=flash"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit, match="attention=flash: choose xla or cudnn"):
        train_step.configure(words[-1], train_step.arguments())
