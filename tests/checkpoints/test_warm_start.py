"""Starts of every task: bit for bit as the published code makes them, and what is refused."""

import json
from functools import cache, partial
from pathlib import Path

import jax
import numpy as np
import pytest

from albef_jax.checkpoints import names, torch_file
from albef_jax.checkpoints.torch_file import CheckpointError
from albef_jax.checkpoints.tree_sizes import sizes_of
from albef_jax.checkpoints.warm_start import format_table, transfer
from albef_jax.models import albef, task_models
from albef_jax.models.resize import resize_position_embedding
from albef_jax.models.sizes import ModelConfig

TINY = Path(__file__).parents[1] / "golden" / "tiny"
CONVERSION = json.loads((TINY / "key_conversion.json").read_text())
FILES = {
    "pretrain": "pretrain",
    "retrieval": "retrieval",
    "entailment": "ve",
    "vqa": "vqa",
    "nlvr": "nlvr",
    "nlvr_pretrain": "pretrain_nlvr",
}
# (entry of the record, task, task of the checkpoint)
RECORDED = [
    ("retrieval", "retrieval", "pretrain"),
    ("ve", "entailment", "pretrain"),
    ("vqa", "vqa", "pretrain"),
    ("pretrain_nlvr", "nlvr_pretrain", "pretrain"),
    ("nlvr_from_pretrain_nlvr", "nlvr", "nlvr_pretrain"),
]
EACH_RECORD = pytest.mark.parametrize(("entry", "task", "source_task"), RECORDED)


@cache
def state(task):
    return torch_file.read_state_dict(TINY / f"{FILES[task]}.pth")


@cache
def published(task):
    return names.from_published(state(task), task=task)


def start(task, source_task, *, fresh=None, source=None, **options):
    """The golden file of `task` stands for its fresh model."""
    fresh, source = fresh or published(task), source or published(source_task)
    return transfer(
        task,
        fresh.params,
        source_task,
        source.params,
        fresh.teacher,
        source.teacher,
        fresh.queues,
        source.queues,
        **options,
    )


def changed(task, **parts):
    old = published(task)
    fields = {"params": old.params, "teacher": old.teacher, "queues": old.queues} | parts
    return names.Published(**fields, unused=[])


def twins(params):
    return {name: tree for name, tree in params.items() if name not in albef.STUDENT_ONLY}


def blank(task, **sizes):
    """A model of zeros with the golden sizes, or others."""
    heads = {"image_heads": 3, "text_heads": 3}
    config = ModelConfig(**{**sizes_of(published("pretrain").params), **heads, **sizes})
    init = partial(task_models.init, config, task)
    params = jax.eval_shape(init, jax.random.key(0))
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), params)
    teacher = twins(params) if task != "nlvr_pretrain" else {}
    return names.Published(params, teacher, {}, [])


def assert_equal(found, expected):
    jax.tree.map(np.testing.assert_array_equal, found, expected)


@EACH_RECORD
def test_every_published_key_is_as_recorded(entry, task, source_task):
    record = CONVERSION[entry]
    made = start(task, source_task)
    found = names.to_published(made.params, made.teacher, made.queues, task)
    expected = {key: state(source_task)[old] for key, old in record["target_to_source"].items()}
    expected |= {key: state(task)[key] for key in record["left_at_initialisation"]}
    assert found.keys() == expected.keys() == state(task).keys()
    for key, array in expected.items():
        assert found[key].dtype == array.dtype, key
        assert found[key].tobytes() == array.tobytes(), key


def marked(rows, task, status):
    """Published keys of a task's modules that have this status."""
    paths = {(row.part, row.path) for row in rows if row.status == status}

    def mark(part, tree):
        def ones_or_zeros(path, leaf):
            keys = [key.key for key in path]
            chosen = {(part, "/".join(keys)), (part, "/".join(keys[:-1]))} & paths
            return np.full(np.shape(leaf), bool(chosen), np.float32)

        return jax.tree_util.tree_map_with_path(ones_or_zeros, tree)

    parts = mark("student", published(task).params), mark("teacher", published(task).teacher)
    flat = names.to_published(*parts, {}, task)
    queues = {{"image_id": "idx_queue"}.get(path, path) for part, path in paths if part == "queues"}
    return queues | {key for key, array in flat.items() if array.all()}


def parameters(keys):
    """Without second names and the numbers of positions."""
    return {k for k in keys if "predictions.decoder" not in k and "position_ids" not in k}


@EACH_RECORD
def test_the_table_says_what_is_recorded(entry, task, source_task):
    record, rows = CONVERSION[entry], start(task, source_task).rows
    assert {row.status for row in rows} <= {"loaded", "new", "unused"}
    new, unused = marked(rows, task, "new"), marked(rows, source_task, "unused")
    assert parameters(new) == parameters(record["left_at_initialisation"])
    assert parameters(unused) == parameters(record["unused_source"])


@pytest.mark.parametrize("task", FILES)
def test_a_task_from_itself_is_everything(task):
    fresh = blank(task)
    queues = {k: np.zeros_like(v) for k, v in published(task).queues.items()}
    made = start(task, task, fresh=names.Published(fresh.params, fresh.teacher, queues, []))
    assert_equal(made.params, published(task).params)
    assert_equal(made.teacher, published(task).teacher)
    assert_equal(made.queues, published(task).queues)
    assert {row.status for row in made.rows} == {"loaded"}


def test_grounding_from_retrieval_leaves_the_ids_of_other_pictures():
    source = changed("retrieval", queues=published("retrieval").queues | {"image_id": np.ones(12)})
    fresh = changed("retrieval", queues=published("retrieval").queues)
    made = start("grounding", "retrieval", fresh=fresh, source=source)
    assert_equal(made.params, published("retrieval").params)
    assert_equal(made.queues["image_id"], fresh.queues["image_id"])
    [row] = [row for row in made.rows if row.path == "image_id" and row.status == "new"]
    assert row.note == "of other pictures there"


def leaves(made):
    return [leaf for leaf in jax.tree.leaves((made.params, made.teacher)) if leaf.size > 1]


@pytest.mark.parametrize(
    ("task", "source_task", "teacher"),
    [
        ("vqa", "pretrain", "published"),
        ("nlvr_pretrain", "pretrain", "published"),
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
def test_the_published_nlvr_teacher_stays_fresh(source_task):
    made = start("nlvr", source_task)
    assert_equal(made.teacher, published("nlvr").teacher)


def test_without_a_teacher_none_is_made():
    for teacher in ("published", "student"):
        made = start(
            "entailment", "pretrain", fresh=changed("entailment", teacher={}), teacher=teacher
        )
        assert made.teacher == {}


@pytest.mark.parametrize("size", [96, 32])
def test_positions_are_resized_in_student_and_teacher(size):
    made = start("entailment", "pretrain", fresh=blank("entailment", image_size=size))
    for tree, source in (
        (made.params, published("pretrain").params),
        (made.teacher, published("pretrain").teacher),
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
    queues = published("retrieval").queues
    longer = {k: np.concatenate([v, v]) for k, v in queues.items() if k != "queue_ptr"}
    fresh = changed("retrieval", queues=longer | {"queue_ptr": 3})
    made = start("retrieval", "pretrain", fresh=fresh)
    assert_equal(made.queues, fresh.queues)
    notes = {row.path: row.note for row in made.rows if row.part == "queues" and row.note}
    assert notes["image_queue"] == notes["queue_ptr"] == "features (12, 16) there and (24, 16) here"


def test_without_source_queues_they_stay_fresh():
    made = start("retrieval", "pretrain", source=changed("pretrain", queues={}))
    assert_equal(made.queues, published("retrieval").queues)


def test_a_head_of_another_task_is_not_taken():
    made = start("nlvr", "entailment")
    assert_equal(made.params["cls_head"], published("nlvr").params["cls_head"])
    student = [row for row in made.rows if row.path == "cls_head/out" and row.part == "student"]
    assert [row.status for row in student] == ["new", "unused"]


def test_what_is_missing_is_named_by_the_largest_part():
    message = r"vqa from retrieval: student: .*: answer_decoder/head \(from mlm_head\);"
    with pytest.raises(CheckpointError, match=message):
        start("vqa", "retrieval")


def without(tree, *paths):
    def keep(node, path):
        if not isinstance(node, dict):
            return node
        inner = {k: (v, f"{path}/{k}".lstrip("/")) for k, v in node.items()}
        return {k: keep(v, p) for k, (v, p) in inner.items() if p not in paths}

    return keep(tree, "")


def test_missing_modules_are_named():
    gone = "text_encoder/layers/norm", "image_proj", "fusion_encoder/layers/cross_attention"
    source = changed("pretrain", params=without(published("pretrain").params, *gone))
    with pytest.raises(CheckpointError) as error:
        start("retrieval", "pretrain", source=source)
    assert "student" in str(error.value)
    listed = str(error.value).partition("checkpoint: ")[2].partition(";")[0].split(", ")
    assert sorted(listed) == sorted(gone)
    made = start("retrieval", "pretrain", source=source, allow_missing=gone)
    assert_equal(made.params["image_proj"], published("retrieval").params["image_proj"])
    new = {row.path: row.note for row in made.rows if row.status == "new" and row.part == "student"}
    assert len(new) == 7 and set(new.values()) == {"not in the checkpoint"}


def test_a_teacher_that_lacks_something_is_named():
    source = changed("pretrain", teacher=without(published("pretrain").teacher, "text_proj"))
    with pytest.raises(CheckpointError, match="teacher: not in the checkpoint: text_proj;"):
        start("retrieval", "pretrain", source=source)


def test_part_of_a_stand_in_may_be_missing():
    made = start("vqa", "retrieval", allow_missing=("answer_decoder/head",))
    decoder, fresh = made.params["answer_decoder"], published("vqa").params["answer_decoder"]
    assert_equal(decoder["head"], fresh["head"])
    assert_equal(decoder["layers"], published("retrieval").params["fusion_encoder"]["layers"])


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"vocab_size": 300}, "model.vocab_size is 200 there and 300 here;"),
        ({"text_depth": 3, "max_positions": 32}, "model.max_positions is 64 there and 32 here; mo"),
        ({"embed_dim": 8, "image_size": 96}, "size: model.embed_dim is 16 there and 8 here; set"),
        ({"image_width": 48}, "model.image_width is 24 there and 48 here;"),
    ],
)
def test_other_sizes_are_named(sizes, message):
    with pytest.raises(CheckpointError, match=message.replace(".", r"\.")):
        start("retrieval", "pretrain", fresh=blank("retrieval", **sizes))


def test_a_decoder_cannot_read_pictures_of_another_width():
    # the fusion layers read image tokens, the decoder's the question's
    fresh = blank("vqa", image_width=48)
    source = blank("pretrain", image_width=48)
    keys = "answer_decoder/layers/cross_attention/key"
    message = rf"{keys} is \(2, 48, 24\) there and \(2, 24, 24\) here"
    with pytest.raises(CheckpointError, match=message):
        start("vqa", "pretrain", fresh=fresh, source=source)
    made = start(
        "vqa",
        "pretrain",
        fresh=fresh,
        source=source,
        allow_missing=(keys, keys.replace("key", "value")),
    )
    new = [row for row in made.rows if row.status == "new" and row.part == "student"]
    assert [row.path.rpartition("/")[2] for row in new] == ["key", "value"]


def test_what_may_be_missing_must_exist():
    with pytest.raises(CheckpointError, match="no module 'ita_head'"):
        start("retrieval", "pretrain", allow_missing=("ita_head",))


def test_the_table_as_text():
    made = start("nlvr_pretrain", "pretrain", fresh=blank("nlvr_pretrain", image_size=96))
    assert format_table(made.rows) == (
        "student                        94 tensors   99.1 k  91 loaded, 1 resized, 2 new\n"
        "  image_encoder                18 tensors   41.1 k  17 loaded, 1 resized\n"
        "    image_encoder/pos_embed     1 tensors      888  resized, from 16 to 36 patches\n"
        "  image_proj                    2 tensors      400  loaded\n"
        "  pair_encoder                 48 tensors   36.3 k  loaded, from fusion_encoder\n"
        "  ta_head                       2 tensors       75  new, the task's own\n"
        "  temperature                   1 tensors        1  loaded\n"
        "  text_encoder                 21 tensors   20.9 k  loaded\n"
        "  text_proj                     2 tensors      400  loaded\n"
        "student of the checkpoint       7 tensors      898  unused\n"
        "  mlm_head, itm_head\n"
        "teacher of the checkpoint      74 tensors   82.5 k  unused\n"
        "  image_encoder, text_encoder, fusion_encoder, mlm_head, image_proj, text_proj\n"
        "queues of the checkpoint        3 tensors      385  unused\n"
        "  image_queue, text_queue, queue_ptr"
    )


def test_the_table_folds_what_fared_alike():
    made = start("nlvr", "nlvr_pretrain", teacher="student")
    teacher = [row for row in made.rows if row.part == "teacher"]
    assert format_table(teacher) == (
        "teacher    91 tensors   98.4 k  loaded, a copy of the student"
    )
    assert format_table([]) == ""
