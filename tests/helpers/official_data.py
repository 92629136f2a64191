"""Made-up data in the formats and the layout of the official files, for `docs/paper.md`."""

import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIDE = 40
WORDS = (
    "red",
    "green",
    "blue",
    "small",
    "large",
    "old",
    "new",
    "wet",
    "dry",
    "far",
    "near",
    "dark",
)


def make(root: Path) -> None:
    """Lists and images under `root/data`."""
    rng = np.random.default_rng(0)
    _pretraining(root / "data", rng)
    _retrieval(root / "data", rng)
    _entailment(root / "data", rng)
    _nlvr2(root / "data", rng)
    _vqa(root / "data", rng)
    _refcoco(root / "data", rng)


def _images(folder: Path, rng: np.random.Generator, count: int, stem: str) -> Iterator[str]:
    """Different images; their names."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        pixels = rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
        name = f"{stem}{number:012}.jpg"
        Image.fromarray(pixels).save(folder / name)
        yield name


def _write(file: Path, content: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content), encoding="utf-8")


def _caption(number: int) -> str:
    return f"a {WORDS[number % 12]} thing beside a {WORDS[number // 12 % 12]} one, number {number}"


def _pretraining(data: Path, rng: np.random.Generator) -> None:
    for part in ("coco", "vg", "sbu", "cc3m_train", "cc3m_val", "cc12m"):
        names = list(_images(data / "pretrain" / part, rng, 4, ""))
        paths = [str(data / "pretrain" / part / name) for name in names]
        _write(
            data / f"{part}.json",
            [{"image": path, "caption": _caption(n)} for n, path in enumerate(paths)],
        )


def _retrieval(data: Path, rng: np.random.Generator) -> None:
    layouts = {
        "coco": ("coco", "val2014/", "COCO_val2014_"),
        "flickr30k": ("flickr30k", "flickr30k-images/", ""),
    }
    for name, (root, folder, stem) in layouts.items():
        images = [folder + one for one in _images(data / root / folder, rng, 16, stem)]
        # A training item is a pair; an evaluation item an image with its captions.
        _write(
            data / f"{name}_train.json",
            [
                {"image": image, "caption": _caption(2 * n + k), "image_id": f"{name}_{n}"}
                for n, image in enumerate(images[:8])
                for k in range(2)
            ],
        )
        for part, some in (("val", images[8:12]), ("test", images[12:])):
            _write(
                data / f"{name}_{part}.json",
                [
                    {"image": image, "caption": [_caption(50 + 2 * n), _caption(51 + 2 * n)]}
                    for n, image in enumerate(some)
                ],
            )


def _entailment(data: Path, rng: np.random.Generator) -> None:
    images = list(_images(data / "flickr30k/flickr30k-images", rng, 12, "ve"))
    labels = ("contradiction", "neutral", "entailment")
    parts = {"train": images[:8], "dev": images[8:10], "test": images[10:]}
    for part, some in parts.items():
        _write(
            data / f"ve_{part}.json",
            [
                {"image": image.removesuffix(".jpg"), "label": label, "sentence": f"it is {label}"}
                for image in some
                for label in labels
            ],
        )


def _nlvr2(data: Path, rng: np.random.Generator) -> None:
    for part, count in (("train", 8), ("dev", 4), ("test", 4)):
        names = list(_images(data / "nlvr2" / part, rng, 2 * count, part))
        pairs = [
            [f"{part}/{a}", f"{part}/{b}"] for a, b in zip(names[::2], names[1::2], strict=True)
        ]
        _write(
            data / f"nlvr_{part}.json",
            [
                {"images": pair, "sentence": _caption(n), "label": ("False", "True")[n % 2]}
                for n, pair in enumerate(pairs)
            ],
        )


def _vqa(data: Path, rng: np.random.Generator) -> None:
    folders = {"train": "train2014", "val": "val2014", "test": "test2015"}
    for part, folder in folders.items():
        names = _images(data / "coco" / folder, rng, 4, f"COCO_{folder}_vqa")
        items: list[dict[str, Any]] = [
            {
                "question_id": 1000 * (ord(part[0]) + ord(part[-1])) + n,
                "question": f"what is {WORDS[n]}?",
                "image": f"{folder}/{name}",
                "dataset": "vqa",
            }
            for n, name in enumerate(names)
        ]
        if part != "test":  # its answers are not public
            for item in items:
                item["answer"] = ["red"] * 6 + ["green"] * 3 + ["a bat"]
        _write(data / f"vqa_{part}.json", items)
    names = _images(data / "visual_genome" / "image", rng, 4, "")
    _write(
        data / "vg_qa.json",
        [
            {"image": f"image/{name}", "question": "where is it?", "answer": "far", "dataset": "vg"}
            for name in names
        ],
    )
    _write(data / "answer_list.json", ["red", "green", "a bat", "far", "yes", "no"])


def _refcoco(data: Path, rng: np.random.Generator) -> None:
    names = list(_images(data / "coco" / "train2014", rng, 12, "COCO_train2014_"))
    paths = [f"train2014/{name}" for name in names]
    _write(
        data / "refcoco+_train.json",
        [{"image": path, "text": _caption(n)} for n, path in enumerate(paths[:8])],
    )
    splits = ("val", "val", "testA", "testB")
    refs, annotations, images, detections = [], [], [], {}
    parts: dict[str, list] = {"val": [], "test": []}
    for n, (path, split) in enumerate(zip(paths[8:], splits, strict=True)):
        refs.append({"ref_id": n, "image_id": 500 + n, "ann_id": 900 + n, "split": split})
        annotations.append({"id": 900 + n, "bbox": [4, 4, 20, 20]})
        images.append({"id": 500 + n, "width": SIDE, "height": SIDE})
        detections[str(500 + n)] = [[5, 5, 19, 19, 0.9], [0, 0, 9, 9, 0.8]]
        item = {"image": path, "text": _caption(n), "ref_id": n}
        parts["val" if split == "val" else "test"].append(item)
    for part, items in parts.items():
        _write(data / f"refcoco+_{part}.json", items)
    folder = data / "refcoco+"
    _write(folder / "instances.json", {"annotations": annotations, "images": images})
    _write(folder / "dets.json", detections)
    (folder / "refs(unc).p").write_bytes(pickle.dumps(refs, 2))
