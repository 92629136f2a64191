"""Rotten samples: what can be used is used, the rest is replaced, named once, counted, bounded."""

import io
import json
import tarfile

import cv2
import jax
import numpy as np
import pytest
from PIL import Image

from albef_jax.config import default, use_preset
from albef_jax.data.annotations.pairs import JsonPairs
from albef_jax.data.bad_samples import BadSamples
from albef_jax.data.batching import shuffled_batches
from albef_jax.data.examples import PairExamples
from albef_jax.data.images.augment import TrainTransform
from albef_jax.data.scenes.source import ScenesSource
from albef_jax.data.shards.webdataset import TarPairs
from albef_jax.data.tokenizer import Tokenizer
from albef_jax.distributed.mesh import make_mesh
from albef_jax.errors import BadSample, TooManyBadSamples
from albef_jax.observability.metrics import read_lines
from albef_jax.run import run
from albef_jax.validate import validate

KINDS = ("json", "webdataset")
SIZE, BATCH = 160, 8
RED = (200, 30, 40)


def encoded(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def plain(size=(40, 30), colour=RED):
    return Image.new("RGB", size, colour)


def bomb():
    """A few bytes that claim to be an image of 900 million pixels."""
    header = bytearray(encoded(Image.new("L", (1, 1)), "BMP"))
    header[18:26] = np.array([30_000, 30_000], "<i4").tobytes()
    return bytes(header)


def packed_bomb():
    """A whole image of 121 million pixels in a few kilobytes."""
    return encoded(Image.new("1", (11_000, 11_000)), "PNG")


UNUSUAL = {
    "cmyk.jpg": encoded(plain().convert("CMYK"), "JPEG", quality=100),
    "palette.png": encoded(plain().convert("P", palette=Image.Palette.ADAPTIVE), "PNG"),
    "sixteen.png": cv2.imencode(".png", np.full((30, 40, 3), RED[::-1], np.uint16) * 257)[
        1
    ].tobytes(),
    "animated.gif": encoded(
        plain(), "GIF", save_all=True, append_images=[plain(colour=(0, 0, 255))] * 3
    ),
    "wide.png": encoded(plain((30_000, 4)), "PNG"),
    "wrong.jpg": encoded(plain(), "PNG"),
}
WHOLE = encoded(
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 60, 3), np.uint8)), "JPEG"
)
ROTTEN = {
    "truncated.jpg": (WHOLE[: len(WHOLE) // 2], "truncated JPEG"),
    "cut.png": (encoded(plain(), "PNG")[:60], "cannot be decoded"),
    "empty.jpg": (b"", "0 bytes"),
    "bomb.bmp": (bomb(), "million pixels"),
    "packed_bomb.png": (packed_bomb(), "million pixels"),
    "page.jpg": (b"<html>404 Not Found</html>", "not an image"),
}
# The same for captions, where a single one does not spoil the whole file.
UNTOLD = {
    "untold.jpg": (None, r"no .txt"),
    "blank.jpg": (b" \n", "caption is empty"),
    "latin.jpg": (b"caf\xe9", "not UTF-8"),
}


class Files:
    """A set of images with captions, written as either kind of source."""

    def __init__(self, folder, kind, **more):
        """`more`: name of an image to its bytes and caption; None for either leaves it out."""
        scenes = ScenesSource("train", SIZE - len(more), 32)
        self.files = {
            f"{index}.jpg": (encoded(Image.fromarray(scenes[index].image), "JPEG"), b"a red circle")
            for index in range(len(scenes))
        }
        self.files |= more
        self.folder, self.kind = folder, kind
        self.path = getattr(self, f"_{kind}")()

    def _json(self):
        items = []
        for name, (data, caption) in self.files.items():
            items.append({"image": name, "caption": caption.decode()})
            if data is not None:
                (self.folder / name).write_bytes(data)
        path = self.folder / "pairs.json"
        path.write_text(json.dumps(items), "utf-8")
        return path

    def _webdataset(self):
        path = self.folder / "00000.tar"
        with tarfile.open(path, "w") as tar:
            for name, (data, caption) in self.files.items():
                key = name.partition(".")[0]
                for part, content in ((name, data), (f"{key}.txt", caption)):
                    if content is not None:
                        info = tarfile.TarInfo(part)
                        info.size = len(content)
                        tar.addfile(info, io.BytesIO(content))
        return path

    def source(self):
        return JsonPairs([self.path], self.folder) if self.kind == "json" else TarPairs([self.path])

    def name(self, image):
        """What an image is called in errors."""
        if self.kind == "json":
            return str(self.folder / image)
        return f"{self.path}/{image.partition('.')[0]}"


def rotten_files(folder, kind):
    """Five in a hundred cannot be used, all unusual ones can; and what to expect of each."""
    captioned = {name: (data, b"a red square") for name, data in UNUSUAL.items()}
    bad = {name: (data, b"a red square") for name, (data, _) in ROTTEN.items()}
    reasons = {name: reason for name, (_, reason) in ROTTEN.items()}
    if kind == "json":
        bad |= {"lost.jpg": (None, b"a red square"), "lost_too.jpg": (None, b"a red square")}
        reasons |= {"lost.jpg": "No such file", "lost_too.jpg": "No such file"}
    else:
        del bad["page.jpg"], reasons["page.jpg"]
        bad |= {name: (WHOLE, caption) for name, (caption, _) in UNTOLD.items()}
        reasons |= {name: reason for name, (_, reason) in UNTOLD.items()}
        bad |= {"faceless.jpg": (None, b"a text alone")}
        reasons |= {"faceless.jpg": "no image of this name"}
    files = Files(folder, kind, **captioned, **bad)
    return files, {files.name(name): reason for name, reason in reasons.items()}


@pytest.fixture(params=KINDS)
def rotten(request, tmp_path):
    return rotten_files(tmp_path, request.param)


def test_unusual_images_are_used(rotten):
    files, _ = rotten
    source, names = files.source(), list(files.files)
    for name in UNUSUAL:
        pair = source[names.index(name)]
        height, width = (4, 30_000) if name == "wide.png" else (30, 40)
        assert pair.image.shape == (height, width, 3), name
        assert np.abs(pair.image.astype(int) - RED).max() <= 6, name


def test_each_rotten_sample_has_its_reason(rotten):
    files, reasons = rotten
    source, found = files.source(), {}
    for index in range(len(source)):
        try:
            source[index]
        except BadSample as bad:
            found[bad.name] = bad.reason
    assert found.keys() == reasons.keys()
    for name, reason in reasons.items():
        assert reason in found[name]


def batches(source, **options):
    read = PairExamples(source, TrainTransform(16), Tokenizer("scenes", 8), 30)
    bad = options.pop("bad", None) or BadSamples(None, 0.1, len(source))
    settings = {"batch_size": BATCH, "seed": 1, "threads": 2, "bad_samples": bad, **options}
    return list(shuffled_batches(read, len(source), num_steps=SIZE // BATCH, **settings))


def joined(hosts):
    return [
        {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
        for parts in zip(*hosts, strict=True)
    ]


def test_replacements_are_the_same_with_any_threads_and_hosts(rotten, tmp_path):
    files, reasons = rotten
    source = files.source()
    register = tmp_path / "bad_samples.jsonl"
    found = batches(source, bad=BadSamples(register, 0.1, len(source)))
    hosts = [batches(source, process_index=i, process_count=2, threads=0) for i in range(2)]
    for one, other in zip(found, joined(hosts), strict=True):
        assert all(np.array_equal(one[key], other[key]) for key in one)
    named = [json.loads(line)["name"] for line in register.read_text("utf-8").splitlines()]
    assert sorted(named) == sorted(reasons), "each once"
    used = np.concatenate([batch["sample_index"] for batch in found])
    names = list(files.files)
    assert not {files.name(names[index]) for index in used} & reasons.keys()


def test_above_the_bound_the_run_stops_with_a_summary(rotten):
    files, _ = rotten
    source = files.source()
    with pytest.raises(TooManyBadSamples) as stopped:
        batches(source, bad=BadSamples(None, 0.02, len(source)))
    message = str(stopped.value)
    assert f"4 of {SIZE} samples (2.50%)" in message
    assert "data.max_bad_share=0.02" in message and " x " in message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace('"caption": "a red square"', '"x": 1'), r"has no 'caption'"),
        (lambda text: text.replace("a red square", " "), r"'caption' is empty"),
        (lambda text: text.replace("a red square", "caf\udce9"), r"not UTF-8 at byte"),
    ],
    ids=["no caption", "empty caption", "bad UTF-8"],
)
def test_rotten_captions_in_json_are_refused_before_anything_starts(tmp_path, change, message):
    files, _ = rotten_files(tmp_path, "json")
    text = change(files.path.read_text("utf-8"))
    files.path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match=message):
        files.source()


def tiny_config(files):
    config = default()
    sizes = {"image_size": 16, "image_width": 16, "image_depth": 1, "image_heads": 2}
    texts = {"text_width": 16, "text_heads": 2, "text_intermediate": 32, "text_depth": 1}
    rest = {"patch_size": 8, "fusion_depth": 1, "embed_dim": 8, "max_positions": 32}
    use_preset(config, "tiny", vocab_size=480, **sizes, **texts, **rest)
    config.data.update({"source": files.kind, "vocab": "scenes", "threads": 2, "text_len": 8})
    config.data.update({"train_files": files.path.name, "root": str(files.folder)})
    config.data.max_bad_share = 0.06
    config.train.update({"batch_size": BATCH, "contrast_group": 4, "queue_size": 16})
    config.train.steps = SIZE // BATCH
    config.optimizer.update({"schedule": "cosine", "lr": 1e-3, "warmup_steps": 5})
    config.evaluation.update({"limit": 8, "rerank": 2, "batch_size": 8, "examples": 1})
    config.log.every_steps = 10
    validate(config)
    return config


@pytest.mark.slow
def test_a_run_over_rotten_data_finishes_and_names_every_one(tmp_path, monkeypatch):
    files, reasons = rotten_files(tmp_path, "webdataset")
    one = make_mesh(devices=jax.devices()[:1])  # compiles faster than eight
    monkeypatch.setattr("albef_jax.run.make_mesh", lambda *_: one)
    workdir = tmp_path / "run"
    run(tiny_config(files), workdir, "the command", eval_only=False)
    lines = (workdir / "bad_samples.jsonl").read_text("utf-8").splitlines()
    named = {entry["name"]: entry["reason"] for entry in map(json.loads, lines)}
    assert len(lines) == len(named) and named.keys() == reasons.keys()
    assert all(reason in named[name] for name, reason in reasons.items())
    assert read_lines(workdir / "metrics.jsonl")[-1]["bad_samples"] == len(reasons)
    assert json.loads((workdir / "results.json").read_text("utf-8"))["step"] == SIZE // BATCH
