"""Grounding (RefCOCO+), weakly supervised: trained as retrieval, evaluated by heat maps."""

from collections.abc import Iterable
from dataclasses import astuple, dataclass, replace
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from albef_jax.config.option_groups import contrast_options, distillation_options, finetune_options
from albef_jax.config.tasks import TaskSpec
from albef_jax.data.build import open_referring
from albef_jax.data.examples import PhraseExamples
from albef_jax.data.images.augment import EvalTransform
from albef_jax.data.records import Referring
from albef_jax.distributed.mesh import local_rows, to_devices
from albef_jax.errors import NothingToEvaluate
from albef_jax.evaluate.compositional import lines_of, of_unseen
from albef_jax.evaluate.queries import Row, right
from albef_jax.inference.heat_maps import gradcam
from albef_jax.inference.heat_maps.boxes import (
    enlarge,
    grounding_accuracy,
    is_found,
    pointing_game,
    rank_boxes,
)
from albef_jax.inference.heat_maps.word_heat import by_word
from albef_jax.losses.base import Loss
from albef_jax.losses.retrieval import Inputs, RetrievalLoss
from albef_jax.models.albef import Params
from albef_jax.models.config import ModelConfig
from albef_jax.models.primitives import normalize
from albef_jax.report.task_examples import GroundedPhrase, right_and_wrong
from albef_jax.tasks.shared.base import Task
from albef_jax.tasks.shared.evaluation import Evaluation
from albef_jax.tasks.shared.held_out import gather_records, held_out_register, local_batches
from albef_jax.train.state import TrainState


def options(config: ConfigDict) -> None:
    """The official recipe's values, and what only this task has."""
    finetune_options(config, batch_size=256, epochs=5, lr=1e-5)
    contrast_options(config)
    distillation_options(config)
    config.train.contrast_group = 32
    del config.data.crop_scale  # the official training squeezes the whole image
    config.data.text_len = 30
    config.data.references = ""  # REFER's refs(unc).p, or the same as JSON
    config.data.instances = ""  # COCO's instances.json, where the true boxes are
    config.data.detections = ""  # candidate boxes: dets.json or cocos.json
    config.checkpoint.best = "itm_accuracy"
    config.evaluation.layer = 8  # BERT layer whose attention is the heat map, from 0
    config.evaluation.image_block = 8  # ViT block of the ITC heat map, from 0


BRANCHES = ("itm", "itc")


@dataclass(frozen=True)
class Placed:
    """A phrase with what both branches make of it."""

    place: int
    name: str
    text: str
    box: tuple[float, float, float, float]
    split: str
    candidates: np.ndarray  # [n, 4]
    chosen: dict[str, int | None]  # by branch: the number of the best candidate
    pointed: dict[str, bool]  # by branch: the hottest place is inside the box
    expected: float  # chance that a candidate drawn at random is right

    def as_row(self) -> list:
        """What other processes are told, as JSON."""
        return [*astuple(replace(self, candidates=self.candidates.tolist()))]  # type: ignore[arg-type]

    @staticmethod
    def of_row(row: list) -> "Placed":
        """The inverse of `as_row`."""
        place, name, text, box, split, candidates, *others = row
        boxes = np.array(candidates, np.float64).reshape(-1, 4)
        return Placed(place, name, text, tuple(box), split, boxes, *others)

    @property
    def right(self) -> bool:
        """Whether the ITM branch found the box."""
        return self.found("itm")

    def row(self) -> Row:
        """The same for `queries.csv`; of a missed box, how many candidates there were."""
        boxes = {f"{branch}_box": self.chosen_box(branch) for branch in BRANCHES}
        return {
            "query": f"phrase {self.place}",
            "text": self.text,
            "right": right(self.right),
            "doubt": -len(self.candidates),
            "image": self.name,
            "split": self.split,
            "right_by_itc": right(self.found("itc")),
            "candidates": len(self.candidates),
            **{name: "" if box is None else _written(box) for name, box in boxes.items()},
            "box": _written(self.box),
        }

    def found(self, branch: str) -> bool:
        """Whether a branch found the box."""
        return is_found(self.chosen_box(branch), self.box)

    def chosen_box(self, branch: str) -> np.ndarray | None:
        """The candidate that a branch chose."""
        number = self.chosen[branch]
        return None if number is None else self.candidates[number]


@dataclass(frozen=True)
class Heat:
    """Heat maps of a phrase by ITM, over the model's patches `[h, h]`."""

    whole: np.ndarray
    words: list[tuple[str, np.ndarray]]

    def as_json(self) -> list:
        """What other processes are told."""
        return [self.whole.tolist(), [(word, heat.tolist()) for word, heat in self.words]]

    @staticmethod
    def of_json(told: list) -> "Heat":
        """The inverse of `as_json`."""
        whole, words = told
        named = [(word, np.array(heat, np.float32)) for word, heat in words]
        return Heat(np.array(whole, np.float32), named)


# Compiled once for a model, however often a run is evaluated.
@partial(jax.jit, static_argnums=(0, 1, 2))
def _maps(
    config: ModelConfig, layer: int, block: int, params: Params, batch: dict[str, jax.Array]
) -> dict[str, jax.Array]:
    """Heat maps of a batch: `words [B, T, h, h]`, `itm` and `itc [B, h, h]`."""
    inputs = normalize(batch["image"]), batch["text_ids"], batch["text_mask"]
    words, _ = gradcam.match_maps(config, params, *inputs, layer)
    contrast = gradcam.image_attention(config, params, *inputs, block=block)
    return {"words": words, "itm": gradcam.text_map(words), "itc": gradcam.image_map(*contrast)}


class Grounding(Task):
    """Phrases with the image they are about; boxes are for evaluation alone."""

    example = PhraseExamples
    inputs = Inputs._fields
    queue_holds = "features and image ids"
    items = "phrases"

    def open_train(self) -> Any:
        """The training phrases."""
        return open_referring(self.config, "train")[0]

    def open_eval(self) -> tuple[Any, str]:
        """The held-out phrases, with boxes."""
        return open_referring(self.config, "eval")

    def loss(self) -> Loss:
        """ITC and ITM, as for retrieval."""
        train = self.config.train
        return RetrievalLoss(self.trained_model, train.contrast_group, train.negatives)

    def evaluate(self, state: TrainState, mesh: Mesh) -> Evaluation:
        """Accuracy of the box that the heat map chooses, for both branches."""
        found, heat = self._place_all(state.params, mesh)
        figures = _figures(found)

        def part(places: list[int]) -> dict[str, float]:
            some = [found[place] for place in places]
            return {name: _percent(one.found(name) for one in some) for name in BRANCHES} | {
                "chance": _percent(one.expected for one in some)
            }

        figures |= of_unseen(self.held_out, [one.place for one in found], part)
        figures["unreadable"] = self.eval_size() - len(found)
        lines = [
            f"{branch.upper()}  "
            + "  ".join(f"{split} {share:.2f} %" for split, share in of["accuracy"].items())
            + f"  pointing {of['pointing']:.2f} %"
            for branch in BRANCHES
            for of in (figures[branch],)
        ]
        lines.append(f"of {len(found)} phrases; a box at random {figures['chance']:.2f} %")
        lines += lines_of(figures)
        results = self.results(state, grounding=figures)
        scores = {
            f"{branch}_accuracy": _percent(one.found(branch) for one in found)
            for branch in BRANCHES
        }
        rows = [one.row() for one in found]
        return Evaluation(
            results, lines, "grounding.html", self._examples(found, heat), scores, rows
        )

    def _place_all(self, params: Params, mesh: Mesh) -> tuple[list[Placed], dict[int, Heat]]:
        """All phrases, and by their places the heat maps of those that this process has read."""
        examples = self.examples(self.held_out, EvalTransform(self.model.image_size))

        def read(index: int) -> dict[str, Any]:
            record = self.held_out[index]
            return examples.of(record) | {"record": _without_image(record)}

        options = self.config.evaluation
        run = partial(_maps, self.model, options.layer, options.image_block)
        own, heat = [], {}
        with held_out_register(self) as register:
            for batch in local_batches(self, read, self._blank(), register):
                arrays = {name: batch[name] for name in ("image", "text_ids", "text_mask")}
                maps = local_rows(mesh, run(params, to_devices(mesh, arrays)))
                for row in np.flatnonzero(batch["valid"]):
                    pieces = self._pieces(batch["text_ids"][row], batch["text_mask"][row])
                    one = {name: array[row] for name, array in maps.items()}
                    place = int(batch["sample_index"][row])
                    own.append(_judge(place, batch["record"][row], one).as_row())
                    # The mean without padding; it differs from "itm" by a factor, which no map
                    # shows.
                    heat[place] = Heat(*by_word(pieces, one["words"]))
        found = [Placed.of_row(row) for row in gather_records(own)]
        if not found:
            raise NothingToEvaluate("no phrase to evaluate on could be read")
        return found, heat

    def _pieces(self, text_ids: np.ndarray, text_mask: np.ndarray) -> list[str]:
        """The pieces of a text without [CLS]."""
        return self.tokenizer.pieces(text_ids[1 : int(text_mask.sum())])

    def _blank(self) -> dict[str, Any]:
        side = self.model.image_size
        image = np.zeros((side, side, 3), np.uint8)
        record = Referring("", image, "", -1, -1, None, np.zeros((0, 4)), "")
        row = self.examples((), EvalTransform(side)).of(record)
        return row | {"record": _without_image(record)}

    def _examples(self, found: list[Placed], heat: dict[int, Heat]) -> dict[str, Any]:
        """Right and wrong ones; records are read again for their images."""
        shown, shares = right_and_wrong(found, self.config.evaluation.examples)
        own = [[one.place, heat[one.place].as_json()] for one in shown if one.place in heat]
        maps = {place: Heat.of_json(told) for place, told in gather_records(own)}
        examples = [_card(self.held_out[one.place], one, maps[one.place]) for one in shown]
        return {"examples": examples, "shares": shares}


def _without_image(record: Referring) -> tuple[Referring, int, int]:
    """The record with an empty image, and the image's height and width."""
    height, width = record.image.shape[:2]
    return replace(record, image=np.zeros((1, 1, 3), np.uint8)), height, width


def _judge(
    place: int,
    kept: tuple[Referring, int, int],
    maps: dict[str, np.ndarray],
) -> Placed:
    record, height, width = kept
    assert record.box is not None  # an evaluation source has one for each phrase
    chosen: dict[str, int | None] = {}
    pointed = {}
    for branch in BRANCHES:
        heat = enlarge(maps[branch], height, width)
        order, _ = rank_boxes(heat, record.candidates)
        chosen[branch] = int(order[0]) if len(order) else None
        pointed[branch] = pointing_game(heat, record.box)
    hits = [is_found(box, record.box) for box in record.candidates]
    return Placed(
        place,
        record.name,
        record.text,
        record.box,
        record.split,
        record.candidates,
        chosen,
        pointed,
        float(np.mean(hits)) if hits else 0.0,
    )


def _figures(found: list[Placed]) -> dict[str, Any]:
    """For each branch the accuracy by split and the pointing game; chance and count."""
    truths, splits = [one.box for one in found], [one.split for one in found]
    branches = {
        branch: {
            "accuracy": grounding_accuracy(
                [one.chosen_box(branch) for one in found], truths, splits
            ),
            "pointing": _percent(one.pointed[branch] for one in found),
        }
        for branch in BRANCHES
    }
    return {**branches, "chance": _percent(one.expected for one in found), "count": len(found)}


def _written(box: Iterable[float]) -> str:
    return " ".join(f"{side:g}" for side in box)


def _percent(values: Iterable[float]) -> float:
    return 100 * float(np.mean(list(values)))


def _card(record: Referring, one: Placed, heat: Heat) -> GroundedPhrase:
    return GroundedPhrase(
        record.image,
        record.text,
        heat.whole,
        heat.words,
        one.candidates,
        one.chosen["itm"],
        one.box,
        one.right,
    )


TASK = TaskSpec(
    model="grounding",
    options=options,
    run=Grounding,
    scores=tuple(f"{branch}_accuracy" for branch in BRANCHES),
)
