"""Retrieval on held-out pairs, both ways: by contrast alone, and re-ranked by matching."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jax.sharding import Mesh

from albef_jax.evaluate.queries import Row, right
from albef_jax.evaluate.recall import ranks, recall
from albef_jax.inference.gallery import Gallery, encode
from albef_jax.inference.rerank import Candidates, candidates, itm_scores
from albef_jax.models.albef import Params
from albef_jax.models.config import ModelConfig


@dataclass(frozen=True)
class Retrieval:
    """Scores `[images, captions]` and the figures that follow from them."""

    itc_scores: np.ndarray
    itm_scores: np.ndarray
    figures: dict
    queries: Sequence[Row] = ()

    def better(self) -> tuple[str, np.ndarray]:
        """The scores with the higher mean R@1 of both ways, and their name; ITM if equal."""

        def mean(name: str) -> float:
            return sum(way["r1"] for way in self.figures[name].values())

        if mean("itc") > mean("itm"):
            return "ITC", self.itc_scores
        return "ITM", self.itm_scores


def both_ways(
    scores: Candidates, image_of_text: np.ndarray, text_number: np.ndarray | None = None
) -> dict:
    """Recall of texts given an image, and of images given a text, in percent.

    Args:
        scores: `[N, M]` for each way.
        text_number: `[M]`, equal for equal texts; None if no text repeats.
    """
    image_ids = np.arange(len(scores.texts))
    return {
        "text_retrieval": recall(scores.texts, image_ids, image_of_text, text_number),
        "image_retrieval": recall(scores.images.T, image_of_text, image_ids),
    }


def evaluate(
    config: ModelConfig, params: Params, gallery: Gallery, mesh: Mesh, *, rows: int, k: int
) -> Retrieval:
    """Score a gallery.

    Args:
        rows: images or captions a call.
        k: candidates a query that ITM re-ranks; the others count as not found.
    """
    encoded = encode(config, params, gallery, mesh, rows)
    itc = encoded.image_feat @ encoded.text_feat.T
    chosen = candidates(itc, k)
    itm = itm_scores(config, params, gallery, encoded, chosen.either, mesh, rows)
    reranked = Candidates(*(np.where(way, itm, -np.inf) for way in chosen))
    captions = gallery.image_of_text, gallery.text_number()
    figures = {
        "itc": both_ways(Candidates(itc, itc), *captions),
        "itm": both_ways(reranked, *captions),
        "chance_r1": 100 / gallery.num_images,
        "images": gallery.num_images,
        "captions": len(gallery.captions),
        "shared_captions": gallery.shared_captions(),
        "same_pixels": gallery.same_pixels,
        "rerank": min(k, max(itc.shape)),
    }
    return Retrieval(itc, itm, figures, list(query_rows(Candidates(itc, itc), reranked, gallery)))


def query_rows(itc: Candidates, itm: Candidates, gallery: Gallery) -> Iterator[Row]:
    """A row a query: first the images, then the captions; ranks from 1, ties at their worst."""
    owner, images = gallery.image_of_text, np.arange(gallery.num_images)
    names = gallery.names or tuple(map(str, images))
    twins = gallery.text_number()
    by_itc, by_itm = (_ranks(s.texts, images, owner, twins) for s in (itc, itm))
    for image, first in enumerate(_first(itc.texts, itm.texts)):
        told = {"query": f"captions for {names[image]}", "text": "", "image": names[image]}
        best = {"best_by_itm": gallery.captions[first]}
        yield told | _row_of(by_itc[image], by_itm[image]) | best
    by_itc, by_itm = (_ranks(s.images.T, owner, images, None) for s in (itc, itm))
    for text, first in enumerate(_first(itc.images.T, itm.images.T)):
        told = {"query": f"image for caption {text}", "text": gallery.captions[text]}
        best = {"best_by_itm": names[first]}
        yield told | {"image": names[owner[text]]} | _row_of(by_itc[text], by_itm[text]) | best


def _first(itc: np.ndarray, itm: np.ndarray) -> np.ndarray:
    """The best candidate of each query by ITM; by ITC where ITM has considered none."""
    return np.where(np.isfinite(itm).any(axis=1), itm.argmax(axis=1), itc.argmax(axis=1))


def _ranks(
    scores: np.ndarray, query_ids: np.ndarray, ids: np.ndarray, alike: np.ndarray | None
) -> list[int | None]:
    found = ranks(scores, query_ids, ids, alike)
    return [None if one.ahead is None else one.ahead + 1 for one in found]


def _row_of(itc: int | None, itm: int | None) -> Row:
    known = itm is not None
    return {
        "right": right(itm == 1 if known else None),
        "doubt": itm if known else 0,
        "itc_rank": itc if known else "",
        "itm_rank": itm if known else "",
    }


SCORES = tuple(
    f"{branch}_{figure}"
    for branch in ("itm", "itc")
    for figure in ("r_mean", "text_r1", "image_r1")
)


def scores(figures: dict) -> dict[str, float]:
    """Single figures by the names of `SCORES`; `r_mean` is the mean of R@1, 5, 10 both ways."""
    found = {}
    for branch in ("itm", "itc"):
        ways = figures[branch]["text_retrieval"], figures[branch]["image_retrieval"]
        found[f"{branch}_r_mean"] = float(
            np.mean([share for way in ways for share in way.values()])
        )
        found[f"{branch}_text_r1"], found[f"{branch}_image_r1"] = (way["r1"] for way in ways)
    return found


def protocol(figures: dict) -> str:
    """What was counted, and how, in a few sentences."""
    lines = [
        f"{figures['images']} images and {figures['captions']} captions. All pairs are scored by "
        f"ITC; ITM re-ranks the {figures['rerank']} best of each query. Others count as not found; "
        "ties count as wrong."
    ]
    if shared := figures["shared_captions"]:
        lines.append(
            f"{shared} captions were written under several images: only a query's own is right, "
            "and texts that are the same rank in random order (expected recall)."
        )
    if same := figures["same_pixels"]:
        lines.append(f"{same} images equal another pixel for pixel, and count as that one.")
    return " ".join(lines)


def describe(figures: dict) -> list[str]:
    """The figures in a few lines, to print."""
    lines = []
    for name in ("itc", "itm"):
        texts, images = figures[name]["text_retrieval"], figures[name]["image_retrieval"]
        lines.append(
            f"{name.upper()}  text R@1/5/10 {texts['r1']:.1f}/{texts['r5']:.1f}/{texts['r10']:.1f}"
            f"  image R@1/5/10 {images['r1']:.1f}/{images['r5']:.1f}/{images['r10']:.1f}"
        )
    return [*lines, f"chance R@1 is {figures['chance_r1']:.2f}"]
