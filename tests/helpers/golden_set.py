"""Access to one golden set: sizes, weights, arrays; everything in our layout."""

import json
from functools import cached_property
from pathlib import Path

import numpy as np

from albef_jax.checkpoints.official import state_dict
from albef_jax.checkpoints.torch_format import reader
from albef_jax.losses.masked_lm import MaskedText
from albef_jax.losses.pretraining import Inputs, Recipe
from albef_jax.losses.queue import Queue
from albef_jax.models.config import ModelConfig


class GoldenSet:
    def __init__(self, path: Path):
        self.path = path
        self.sizes = self.json("sizes")

    def json(self, name: str) -> dict:
        return json.loads((self.path / f"{name}.json").read_text())

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        with np.load(self.path / f"{name}.npz", allow_pickle=False) as file:
            return dict(file)

    @cached_property
    def config(self) -> ModelConfig:
        sizes = self.sizes
        return ModelConfig(
            image_size=sizes["image_res"],
            patch_size=sizes["patch_size"],
            image_width=sizes["vit_dim"],
            image_depth=sizes["vit_depth"],
            image_heads=sizes["vit_heads"],
            text_width=sizes["hidden_size"],
            text_heads=sizes["num_attention_heads"],
            text_intermediate=sizes["intermediate_size"],
            text_depth=sizes["fusion_layer"],
            fusion_depth=sizes["num_hidden_layers"] - sizes["fusion_layer"],
            vocab_size=sizes["vocab_size"],
            max_positions=sizes["max_position_embeddings"],
            embed_dim=sizes["embed_dim"],
            dropout=0.0,
            attention_dropout=0.0,
        )

    @cached_property
    def recipe(self) -> Recipe:
        return Recipe(
            contrast_group=self.sizes["batch"], mlm_probability=self.sizes["mlm_probability"]
        )

    @cached_property
    def official(self) -> state_dict.Official:
        state = reader.read_state_dict(self.path / "pretrain.pth")
        return state_dict.from_official(state, fusion_layer=self.sizes["fusion_layer"])

    def task(self, file: str, task: str) -> state_dict.Official:
        """A downstream checkpoint."""
        state = reader.read_state_dict(self.path / f"{file}.pth")
        return state_dict.from_official(state, fusion_layer=self.sizes["fusion_layer"], task=task)


def nhwc(image: np.ndarray) -> np.ndarray:
    return np.moveaxis(image, -3, -1)


def inputs_of(arrays: dict[str, np.ndarray], masked: dict[str, np.ndarray]) -> Inputs:
    """A recorded batch with its recorded masking (`masked_ids`, `mlm_labels`)."""
    selected = masked["mlm_labels"] != -100
    return Inputs(
        nhwc(arrays["image"]),
        arrays["text_ids"].astype(np.int32),
        arrays["text_mask"].astype(np.int32),
        MaskedText(masked["masked_ids"].astype(np.int32), selected),
    )


def queue_of(arrays: dict[str, np.ndarray], when: str) -> Queue:
    """The queue `before` or `after` a recorded step; official arrays are `[E, Q]`."""
    return Queue(
        arrays[f"image_queue_{when}"].T.copy(),
        arrays[f"text_queue_{when}"].T.copy(),
        np.int32(arrays[f"queue_ptr_{when}"][0]),
    )
