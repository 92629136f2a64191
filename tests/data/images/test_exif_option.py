"""`data.exif_orientation` reaches every source of files."""

import io
import json
import tarfile

import numpy as np
import pytest
from PIL import Image

from albef_jax.config.defaults import default
from albef_jax.data.build import (
    open_questions,
    open_referring,
    open_sentences,
    open_train_pairs,
    open_two_images,
)
from albef_jax.data.prepare.from_config import make_plan
from albef_jax.data.prepare.packing import pack

FIELDS = {"caption": "a dog", "text": "a dog", "sentence": "a dog", "question": "what?"}


@pytest.fixture
def root(tmp_path):
    """A phone photo, 40 x 24 pixels in the file, held upright: 24 x 40."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 24), "red").save(tmp_path / "phone.jpg", exif=exif)
    item = {"image": "phone.jpg", "images": ["phone.jpg"] * 2, "answer": "dog", "dataset": "vg"}
    labels = {"sentences": {"label": "neutral"}, "two": {"label": "True"}}
    for name, label in {"pairs": {}, **labels}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps([{**item, **FIELDS, **label}]))
    return tmp_path


def config_of(task, root, files, **data):
    config = default(task)
    config.data.update({"root": str(root), "train_files": files, "exif_orientation": True, **data})
    return config


@pytest.mark.parametrize(
    ("task", "opened", "files"),
    [
        ("pretrain", lambda config: open_train_pairs(config), "pairs.json"),
        ("vqa", lambda config: open_questions(config, "train")[0], "pairs.json"),
        ("grounding", lambda config: open_referring(config, "train")[0], "pairs.json"),
        ("entailment", lambda config: open_sentences(config, "train")[0], "sentences.json"),
        ("nlvr", lambda config: open_two_images(config, "train")[0], "two.json"),
    ],
)
def test_annotated_images_are_turned_where_asked_for(root, task, opened, files):
    config = config_of(task, root, files)
    for asked, shape in ((True, (40, 24, 3)), (False, (24, 40, 3))):
        config.data.exif_orientation = asked
        record = opened(config)[0]
        images = [getattr(record, n) for n in ("image", "left", "right") if hasattr(record, n)]
        assert {image.shape for image in images} == {shape}
    assert default(task).data.exif_orientation is False  # as in the official code


def test_images_of_shards_are_turned_where_asked_for(root):
    with tarfile.open(root / "a.tar", "w") as shard:
        for name, data in (("0.jpg", (root / "phone.jpg").read_bytes()), ("0.txt", b"a dog")):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            shard.addfile(member, io.BytesIO(data))
    config = config_of("pretrain", root, "a.tar", source="webdataset")
    assert open_train_pairs(config)[0].image.shape == (40, 24, 3)


@pytest.mark.parametrize("resize", [0, 16])
def test_packing_keeps_the_orientation_or_applies_it(root, resize):
    """A resized JPEG has no EXIF data any more."""
    config = config_of("pretrain", root, "pairs.json")
    source = open_train_pairs(config)
    pack(source, make_plan(config, "train", source, resize=resize), root / "packed", 1, bar=False)
    packed = config_of("pretrain", root / "packed", "*.array_record", source="array_record")
    height, width, _ = open_train_pairs(packed)[0].image.shape
    assert height > width
    assert np.isclose(height / width, 40 / 24, rtol=0.1)
