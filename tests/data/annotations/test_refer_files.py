import io
import json
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from albef_jax.data.annotations.refer_files import (
    Reference,
    box_of,
    box_problem,
    read_candidates,
    read_instances,
    read_references,
)

REF = {"ref_id": 5, "image_id": 7, "ann_id": 3, "split": "testA", "sentences": [{"raw": "a"}]}
# The same as Python 2 writes it, with a text that is not ASCII.
PYTHON_2 = (
    b"(lp0\n(dp1\nS'ref_id'\np2\nI5\nsS'image_id'\nI7\nsS'ann_id'\nI3\ns"
    b"S'split'\nS'testA'\nsS'raw'\nS'caf\\xe9'\nsa."
)


def written(path, content):
    path.write_text(json.dumps(content), "utf-8")
    return path


def test_references_from_pickles_and_from_json_are_the_same(tmp_path):
    expected = {5: Reference(7, 3, "testA")}
    path = tmp_path / "refs(unc).p"
    for data in (PYTHON_2, *(pickle.dumps([REF], protocol) for protocol in range(6))):
        path.write_bytes(data)
        assert read_references(path) == expected
    assert read_references(written(tmp_path / "refs.json", [REF])) == expected


class Touch:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


class Outside(pickle.Pickler):
    def persistent_id(self, thing):
        return "elsewhere" if thing is REF else None


def outside():
    file = io.BytesIO()
    Outside(file).dump([REF])
    return file.getvalue()


def test_nothing_in_a_pickle_is_executed(tmp_path):
    path, mark = tmp_path / "refs.p", tmp_path / "mark"
    command = f"touch {mark}".encode()
    hostile = [pickle.dumps([Touch(mark)], protocol) for protocol in range(6)]
    hostile.append(b"(S'" + command + b"'\nios\nsystem\n.")  # INST
    hostile.append(b"(cos\nsystem\nS'" + command + b"'\no.")  # OBJ
    for data in hostile:
        path.write_bytes(data)
        with pytest.raises(ValueError, match=r"refs\.p: not a pickle of plain data \(it asks for "):
            read_references(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    "data",
    [
        pickle.dumps([OrderedDict(REF)]),
        pickle.dumps([{**REF, "ref_id": np.int64(5)}]),
        outside(),
        b"",
        b"no pickle",
        pickle.dumps([REF])[:-9],
    ],
    ids=["a class", "numpy", "an outside object", "empty", "text", "cut"],
)
def test_other_pickles_are_refused_with_a_way_out(tmp_path, data):
    path = tmp_path / "refs.p"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"refs\.p: not a pickle of plain data .*as JSON"):
        read_references(path)


def test_a_file_of_references_that_is_not_there(tmp_path):
    for name in ("refs.p", "refs.json"):
        with pytest.raises(ValueError, match=rf"{name}: cannot be read: No such file"):
            read_references(tmp_path / name)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("a", "is a str, not an object"),
        ({**REF, "ref_id": "5"}, "'ref_id' must be a whole number, not '5'"),
        ({**REF, "ann_id": None}, "'ann_id' must be a whole number, not None"),
        ({**REF, "split": 1}, "'split' must be a text, not 1"),
        ({**REF, "ann_id": 4}, "ref_id 5 occurs twice"),
    ],
)
def test_a_broken_reference_is_named(tmp_path, entry, message):
    path = written(tmp_path / "refs.json", [REF, REF, entry])
    with pytest.raises(ValueError, match=rf"refs\.json, item 2: {message}"):
        read_references(path)


@pytest.mark.parametrize("content", [{}, [], "refs"])
def test_no_list_of_references(tmp_path, content):
    with pytest.raises(ValueError, match="not a list of references"):
        read_references(written(tmp_path / "refs.json", content))


def test_instances(tmp_path):
    content = {
        "annotations": [{"id": 3, "bbox": [1, 2.5, 3, 4], "image_id": 7, "area": 12}],
        "images": [{"id": 7, "width": 50, "height": 40, "file_name": "a.jpg"}],
    }
    found = read_instances(written(tmp_path / "instances.json", content))
    assert found.boxes == {3: (1.0, 2.5, 3.0, 4.0)}
    assert found.sizes == {7: (50, 40)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"annotations": None}, "'annotations' must be a list of objects"),
        ({"images": [3]}, "'images' must be a list of objects"),
        ({"annotations": [{"id": 3}]}, "annotations, item 0: must have a whole number 'id'"),
        ({"annotations": [{"id": 3, "bbox": [1, 2, 3]}]}, "annotations, item 0"),
        ({"images": [{"id": 7, "width": 5}]}, "images, item 0: must have whole numbers"),
    ],
)
def test_broken_instances_are_named(tmp_path, change, message):
    path = written(tmp_path / "instances.json", {"annotations": [], "images": [], **change})
    with pytest.raises(ValueError, match=rf"instances\.json\S* {message}"):
        read_instances(path)


def test_candidates_as_lists_with_scores_and_as_objects(tmp_path):
    content = {"7": [[1, 2, 3, 4, 0.9], [5, 6, 7, 8]], "9": [{"bbox": [0.5, 1, 2, 3]}], "11": []}
    found = read_candidates(written(tmp_path / "dets.json", content))
    assert {key: boxes.tolist() for key, boxes in found.items()} == {
        "7": [[1, 2, 3, 4], [5, 6, 7, 8]],
        "9": [[0.5, 1, 2, 3]],
        "11": [],
    }
    assert found["11"].shape == (0, 4) and found["7"].dtype == np.float32


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([[1, 2, 3, 4]], "must hold one object"),
        ({"7": [[1, 2, 3, 4], [1, 2, 3]]}, "image '7', box 1: must be a list"),
        ({"7": [[1, 2, "3", 4]]}, "image '7', box 0"),
        ({"7": [{"box": [1, 2, 3, 4]}]}, "image '7', box 0"),
        ({"7": {"bbox": [1, 2, 3, 4]}}, "image '7', box 0"),
        ({"7": [[1, 2, float("nan"), 4]]}, "image '7', box 0"),
    ],
)
def test_broken_candidates_are_named(tmp_path, content, message):
    path = written(tmp_path / "dets.json", content)
    with pytest.raises(ValueError, match=rf"dets\.json\S* {message}"):
        read_candidates(path)


@pytest.mark.parametrize(
    "given", [None, "1234", [1, 2, 3], [1, 2, 3, True], [1, 2, 3, float("inf")], (1, 2, 3, 4)]
)
def test_what_is_no_box(given):
    assert box_of(given) is None


@pytest.mark.parametrize(
    ("box", "problem"),
    [
        ((0, 0, 50, 40), None),
        ((-1, -1, 52, 42), None),
        ((10, 10, 41.5, 5), r"\[10, 10, 41.5, 5\] reaches outside its image of 50 x 40 pixels"),
        ((10, 10, 5, 31.5), "reaches outside"),
        ((-1.5, 0, 5, 5), "reaches outside"),
        ((0, -1.5, 5, 5), "reaches outside"),
        ((1, 1, 0, 5), "has no area"),
        ((1, 1, 5, -2), "has no area"),
    ],
)
def test_boxes_beyond_their_image_by_more_than_a_pixel_or_without_area(box, problem):
    found = box_problem(box, (50, 40))
    assert found is None if problem is None else found is not None
    if problem:
        with pytest.raises(ValueError, match=problem):
            raise ValueError(found)


def test_without_a_size_a_box_may_reach_far_but_not_start_outside():
    assert box_problem((0, 0, 9000, 9000), None) is None
    assert "outside its image;" in str(box_problem((-2, 0, 9, 9), None))
