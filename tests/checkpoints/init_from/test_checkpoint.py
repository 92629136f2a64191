"""Starts of every task: bit for bit as the official code makes them."""

import jax
import numpy as np
import pytest

from albef_jax.checkpoints.official import state_dict
from albef_jax.models.position_embedding import resize_position_embedding
from tests.helpers.golden_files import FILES, official, saved
from tests.helpers.warm_starts import (
    CONVERSION,
    EACH_RECORD,
    assert_equal,
    blank,
    changed,
    start,
    twins,
)


@EACH_RECORD
def test_every_official_key_is_as_recorded(entry, task, source_task):
    record = CONVERSION[entry]
    made = start(task, source_task)
    found = state_dict.to_official(made.params, made.teacher, made.queues, task)
    expected = {key: saved(source_task)[old] for key, old in record["target_to_source"].items()}
    expected |= {key: saved(task)[key] for key in record["left_at_initialisation"]}
    assert found.keys() == expected.keys() == saved(task).keys()
    for key, array in expected.items():
        assert found[key].dtype == array.dtype, key
        assert found[key].tobytes() == array.tobytes(), key


@pytest.mark.parametrize("task", FILES)
def test_a_task_from_itself_is_everything(task):
    fresh = blank(task)
    queues = {k: np.zeros_like(v) for k, v in official(task).queues.items()}
    made = start(task, task, fresh=state_dict.Official(fresh.params, fresh.teacher, queues, []))
    assert_equal(made.params, official(task).params)
    assert_equal(made.teacher, official(task).teacher)
    assert_equal(made.queues, official(task).queues)
    assert {row.status for row in made.rows} == {"loaded"}


def test_grounding_from_retrieval_leaves_the_ids_of_other_images():
    source = changed("retrieval", queues=official("retrieval").queues | {"image_id": np.ones(12)})
    fresh = changed("retrieval", queues=official("retrieval").queues)
    made = start("grounding", "retrieval", fresh=fresh, source=source)
    assert_equal(made.params, official("retrieval").params)
    assert_equal(made.queues["image_id"], fresh.queues["image_id"])
    [row] = [row for row in made.rows if row.path == "queue/image_id" and row.status == "new"]
    assert row.note == "of other images there"


def leaves(made):
    return [leaf for leaf in jax.tree.leaves((made.params, made.teacher)) if leaf.size > 1]


@pytest.mark.parametrize(
    ("task", "source_task", "teacher"),
    [
        ("vqa", "pretrain", "official"),
        ("nlvr_pretrain", "pretrain", "official"),
        ("nlvr", "nlvr_pretrain", "student"),
    ],
)
def test_no_array_occurs_twice(task, source_task, teacher):
    found = leaves(start(task, source_task, teacher=teacher))
    addresses = {leaf.__array_interface__["data"][0] for leaf in found}
    assert len(addresses) == len(found)


@pytest.mark.parametrize("task", ["nlvr", "entailment", "retrieval"])
def test_teacher_as_the_student(task):
    source = "nlvr_pretrain" if task == "nlvr" else "pretrain"
    made = start(task, source, teacher="student")
    assert_equal(made.teacher, twins(made.params))
    notes = {row.note for row in made.rows if row.part == "teacher" and row.status != "unused"}
    assert notes == {"a copy of the student"}


def test_without_a_source_teacher_the_student_is_copied():
    made = start("entailment", "pretrain", source=changed("pretrain", teacher={}))
    assert_equal(made.teacher, made.params)


@pytest.mark.parametrize("source_task", ["pretrain", "nlvr_pretrain"])
def test_the_official_nlvr_teacher_stays_fresh(source_task):
    made = start("nlvr", source_task)
    assert_equal(made.teacher, official("nlvr").teacher)


def test_without_a_teacher_none_is_made():
    for teacher in ("official", "student"):
        made = start(
            "entailment", "pretrain", fresh=changed("entailment", teacher={}), teacher=teacher
        )
        assert made.teacher == {}


@pytest.mark.parametrize("size", [96, 32])
def test_positions_are_resized_in_student_and_teacher(size):
    made = start("entailment", "pretrain", fresh=blank("entailment", image_size=size))
    for tree, source in (
        (made.params, official("pretrain").params),
        (made.teacher, official("pretrain").teacher),
    ):
        old = source["image_encoder"]["pos_embed"]
        found = tree["image_encoder"]["pos_embed"]
        assert isinstance(found, np.ndarray) and found.shape == (1, (size // 16) ** 2 + 1, 24)
        assert_equal(found, resize_position_embedding(old, (size // 16) ** 2))
        assert_equal(found[:, 0], old[:, 0])
    resized = [row for row in made.rows if row.status == "resized"]
    assert [(row.part, row.path) for row in resized] == [
        ("student", "image_encoder/pos_embed"),
        ("teacher", "image_encoder/pos_embed"),
    ]
    assert resized[0].note == f"from 16 to {(size // 16) ** 2} patches"


def test_a_queue_of_another_shape_stays_fresh():
    queues = official("retrieval").queues
    longer = {k: np.concatenate([v, v]) for k, v in queues.items() if k != "pointer"}
    fresh = changed("retrieval", queues=longer | {"pointer": 3})
    made = start("retrieval", "pretrain", fresh=fresh)
    assert_equal(made.queues, fresh.queues)
    notes = {row.path: row.note for row in made.rows if row.part == "queues" and row.note}
    expected = "features (12, 16) there and (24, 16) here"
    assert notes["queue/image"] == notes["queue/pointer"] == expected


def test_without_source_queues_they_stay_fresh():
    made = start("retrieval", "pretrain", source=changed("pretrain", queues={}))
    assert_equal(made.queues, official("retrieval").queues)


def test_a_head_of_another_task_is_not_taken():
    made = start("nlvr", "entailment")
    assert_equal(made.params["cls_head"], official("nlvr").params["cls_head"])
    student = [row for row in made.rows if row.path == "cls_head/out" and row.part == "student"]
    assert [row.status for row in student] == ["new", "unused"]
