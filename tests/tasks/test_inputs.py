"""Annotation files in each task's official format, good and bad, from configuration to batch."""

import json
import pickle

import cv2
import numpy as np
import pytest

from albef_jax.config.tasks import task_spec
from albef_jax.data.scenes.source import ScenesSource
from albef_jax.distributed.mesh import make_mesh
from albef_jax.errors import ConfigError, RunError
from albef_jax.run import run
from albef_jax.train.loop import restore_or_init
from albef_jax.validate import validate
from tests.helpers.tiny_run import task_config

COUNT = 12
SENTENCES = {
    "entailment": lambda n: {"image": str(n), "sentence": "a ball", "label": "neutral"},
    "nlvr": lambda n: {
        "images": [f"{n}.jpg", f"{(n + 1) % COUNT}.jpg"],
        "sentence": "two balls",
        "label": "True",
    },
    "vqa": lambda n: {
        "image": f"{n}.jpg",
        "question": "What colour?",
        "question_id": n,
        "answer": ["red"] * 7 + ["blue"] * 3,
        "dataset": "vqa",
    },
    "retrieval": lambda n: {"image": f"{n}.jpg", "caption": "a ball", "image_id": f"coco_{n}"},
    "nlvr_pretrain": lambda n: {"image": f"{n}.jpg", "caption": "a ball"},
    "grounding": lambda n: {
        "image": f"{n}.jpg",
        "text": "left ball",
        "ref_id": n,
        "image_id": n,
        "bbox": [4, 4, 20, 20],
        "split": "val",
    },
}

pytestmark = pytest.mark.usefixtures("one_device", "drawn_weights")


@pytest.fixture
def folder(tmp_path):
    scenes = ScenesSource("train", COUNT, 64)
    for index in range(COUNT):
        cv2.imwrite(str(tmp_path / f"{index}.jpg"), scenes[index].image)
    boxes = {str(n): [[4, 4, 20, 20, 0.9], [30, 30, 10, 10, 0.5]] for n in range(COUNT)}
    (tmp_path / "dets.json").write_text(json.dumps(boxes))
    (tmp_path / "answers.json").write_text(json.dumps(["red", "blue", "yes"]))
    return tmp_path


def config_of(task, folder, items=None):
    items = [SENTENCES[task](n) for n in range(COUNT)] if items is None else items
    (folder / "items.json").write_text(json.dumps(items))
    config = task_config(task)
    config.data.update(
        {
            "source": "json",
            "vocab": "bert-base-uncased",
            "augment": "official",
            "root": str(folder),
            "train_files": "items.json",
            "eval_files": "items.json",
        }
    )
    if task == "grounding":
        config.data.detections = "dets.json"
    if task == "vqa":
        config.data.answer_list = "answers.json"
    config.model.vocab_size = 30522
    validate(config)
    return config


@pytest.mark.parametrize("task", SENTENCES)
def test_a_batch_from_files(task, folder, tmp_path):
    program = task_spec(task).run(config_of(task, folder), tmp_path)
    assert len(program.source) == len(program.held_out) == COUNT
    batch = next(program.batches(0, make_mesh()))
    examples = program.examples(program.source, program.transform)
    sent = pickle.loads(pickle.dumps(examples))  # as to a worker
    for name, array in examples(3, np.random.default_rng(0)).items():
        np.testing.assert_array_equal(sent(3, np.random.default_rng(0))[name], array)
        if name == "text_mask":
            assert examples.length(3, np.random.default_rng(0)) == array.sum()
    assert set(program.inputs) <= batch.keys()
    images = (8, 2, 32, 32, 3) if task == "nlvr" else (8, 32, 32, 3)
    assert batch["image"].shape == images
    assert batch["text_ids"].shape == (8, 25)
    if task == "vqa":
        np.testing.assert_allclose(batch["answer_weight"][0], [0.7, 0.3], rtol=1e-6)
        sep = program.answer_tokenizer.sep_id
        assert np.all(np.sum(batch["answer_ids"] == sep, axis=-1) == 1)
    if task in ("retrieval", "grounding"):
        assert len(set(batch["image_id"].tolist())) == 8


def untrained(task, workdir, mesh, checkpoints, **options):
    return restore_or_init(task, mesh, checkpoints)[0]


def test_evaluation_from_files(folder, tmp_path, monkeypatch):
    """One image cannot be read: its question is answered all the same, and counted."""
    monkeypatch.setattr("albef_jax.run.train", untrained)
    config = config_of("vqa", folder)
    config.data.max_bad_share = 0.2
    (folder / "3.jpg").write_bytes(b"broken")
    run(config, tmp_path / "run", "the command", eval_only=False)
    results = json.loads((tmp_path / "run" / "results.json").read_text())["answers"]
    assert results["count"] == COUNT
    assert results["unreadable"] == 1
    assert "unseen" not in results  # what is new to a model is not known of files
    answers = json.loads((tmp_path / "run" / "answers.json").read_text())
    assert [one["question_id"] for one in answers] == list(range(COUNT))


def changed(task, place, **fields):
    items = [SENTENCES[task](n) for n in range(COUNT)]
    items[place] |= fields
    return items


def test_evaluation_needs_no_training_files(folder, tmp_path):
    config = config_of("entailment", folder)
    config.data.train_files = "nowhere.json"
    with pytest.raises(ConfigError, match=r"data\.train_files: no such file"):
        validate(config)
    validate(config, eval_only=True)
    program = task_spec("entailment").run(config, tmp_path, eval_only=True)
    assert program.eval_size() == COUNT


BAD = {
    "a question with no answers": ("vqa", changed("vqa", 2, answer=[]), "item 2.*answer"),
    "an unknown label": (
        "entailment",
        changed("entailment", 5, label="entailmnt"),
        "item 5.*entailmnt.*entailment",
    ),
    "an unknown truth": ("nlvr", changed("nlvr", 1, label="Maybe"), "item 1.*Maybe"),
    "a box outside": (
        "grounding",
        changed("grounding", 4, bbox=[4, 4, 0, 20]),
        "ref_id.*4.*",
    ),
    "an empty split": ("retrieval", [], "empty"),
    "a missing field": ("nlvr", changed("nlvr", 1, images=["0.jpg"]), "item 1.*images"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_items_stop_the_run_before_it_starts(name, folder, tmp_path):
    task, items, message = BAD[name]
    config = config_of(task, folder, items)
    with pytest.raises(RunError, match=f"(?s)items.json.*{message}|{message}"):
        run(config, tmp_path / "run", "the command", eval_only=False)
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_an_answer_list_with_duplicates(folder, tmp_path):
    config = config_of("vqa", folder)
    (folder / "answers.json").write_text(json.dumps(["red", "blue", "red"]))
    with pytest.raises(RunError, match=r"(?s)answers\.json.*red"):
        run(config, tmp_path / "run", "the command", eval_only=False)


def test_an_image_id_of_two_images_merges_nothing(folder, tmp_path, capsys):
    items = [SENTENCES["retrieval"](n) | {"image_id": f"coco_{n % 3}"} for n in range(COUNT)]
    program = task_spec("retrieval").run(config_of("retrieval", folder, items), tmp_path)
    assert len({program.source[n].image_id for n in range(COUNT)}) == COUNT
    assert "image_id" in program.describe_data()


@pytest.mark.parametrize(
    ("task", "section", "option", "value", "message"),
    [
        ("grounding", "evaluation", "layer", 7, r"evaluation\.layer=7: fusion layers .* 1 to 1"),
        ("grounding", "evaluation", "image_block", 3, r"evaluation\.image_block=3"),
        ("nlvr_pretrain", "train", "contrast_group", 2, r"contrast_group=2: a text needs 2"),
        ("vqa", "data", "answer_len", 1, r"data\.answer_len=1"),
        ("vqa", "evaluation", "beams", 0, r"evaluation\.beams=0"),
        ("retrieval", "init", "checkpoint", "nowhere", r"init\.checkpoint: no such file"),
    ],
)
def test_impossible_options(task, section, option, value, message):
    config = task_config(task)
    config[section][option] = value
    with pytest.raises(ConfigError, match=message):
        validate(config)


def test_a_missing_single_file_is_named(folder):
    config = config_of("vqa", folder)
    config.data.answer_list = "answer.json"
    with pytest.raises(ConfigError, match=r"data\.answer_list: no such file.*did you mean"):
        validate(config)
