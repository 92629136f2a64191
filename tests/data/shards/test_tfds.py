"""Data sets prepared by TensorFlow Datasets, read without TensorFlow."""

import io
import json
import pickle
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from albef_jax.data.records import EncodedPairs
from albef_jax.data.shards.tfds import TfdsPairs, split_of
from albef_jax.errors import BadSample

ROTTEN = {3: {"image": b"\xff\xd8\xff\xe0 no more"}, 4: {"captions": [" "]}}


def jpeg(number):
    file = io.BytesIO()
    Image.new("RGB", (24, 16), (number, number, number)).save(file, "JPEG")
    return file.getvalue()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Three data sets in one directory, as `coco_captions` and simpler ones are built."""
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()

    class Built(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")
        code_path = None
        told: dict

        def _info(self):
            features = tfds.features.FeaturesDict(self.told)
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, _):
            return {"train": self._generate_examples(5), "val": self._generate_examples(2)}

    class NestedCoco(Built):
        told = {  # noqa: RUF012
            "image": tfds.features.Image(),
            "image/id": np.int64,
            "image/filename": tfds.features.Text(),
            "captions": tfds.features.Sequence({"id": np.int64, "text": np.str_}),
        }

        def _generate_examples(self, size):
            for number in range(size):
                texts = [{"id": 1, "text": f"cäption {number}"}, {"id": 2, "text": "two"}]
                row = {"image": jpeg(number * 20), "image/id": 100 + number // 2}
                yield number, {**row, "image/filename": f"{number}.jpg", "captions": texts}

    class FlatPairs(Built):
        told = {  # noqa: RUF012
            "image": tfds.features.Image(),
            "captions": tfds.features.Sequence(tfds.features.Text()),
        }

        def _generate_examples(self, size):
            for number in range(size):
                row = {"image": jpeg(number), "captions": [f"text {number}", ""]}
                yield number, {**row, **ROTTEN.get(number, {})}

    class TwoOfEach(Built):
        told = {  # noqa: RUF012
            "left": tfds.features.Image(),
            "right": tfds.features.Image(),
            "first": tfds.features.Text(),
            "second": tfds.features.Text(),
        }

        def _generate_examples(self, size):
            for number in range(size):
                images = {"left": jpeg(10), "right": jpeg(200)}
                yield number, {**images, "first": "one", "second": "two"}

    folder = tmp_path_factory.mktemp("tfds")
    for kind in (NestedCoco, FlatPairs, TwoOfEach):
        kind(data_dir=folder, file_format="array_record").download_and_prepare()
    return folder


def pairs_of(source):
    return [source[index] for index in range(len(source))]


def test_nested_captions_and_image_ids_are_found(root):
    source = TfdsPairs(["nested_coco:train"], root)
    assert isinstance(source, EncodedPairs)
    found = pairs_of(source)
    assert sorted(pair.captions for pair in found) == [(f"cäption {n}", "two") for n in range(5)]
    assert sorted(pair.image_id for pair in found) == [100, 100, 101, 101, 102]
    for pair in found:
        number = int(pair.captions[0][-1])
        assert np.abs(pair.image.astype(int) - number * 20).max() <= 1
        assert pair.image_id == 100 + number // 2
    assert found[1].name == "nested_coco:train/1"
    with pytest.raises(IndexError):
        source[5]


def test_the_bytes_are_those_that_were_stored(root):
    source = TfdsPairs(["nested_coco:train"], root)
    stored = {jpeg(number * 20) for number in range(5)}
    assert {source.encoded(index).data for index in range(5)} == stored


def test_slices_and_several_splits(root):
    whole = pairs_of(TfdsPairs(["nested_coco:train"], root))
    source = TfdsPairs(["nested_coco:train[:40%]", "nested_coco:1.0.0:val"], root)
    found = pairs_of(source)
    assert [pair.captions for pair in found[:2]] == [pair.captions for pair in whole[:2]]
    assert [pair.image_id for pair in found] == [0, 1, 2, 3], "numbers of two splits may clash"
    assert found[2].name == "nested_coco:1.0.0:val/0"


@pytest.mark.parametrize("absolute", [True, False])
def test_a_directory_in_place_of_a_name(root, absolute):
    name = "nested_coco/1.0.0:val"
    source = TfdsPairs([f"{root}/{name}" if absolute else name], "" if absolute else root)
    assert len(source) == 2


def test_unusable_records_are_named(root):
    source = TfdsPairs(["flat_pairs:train"], root)
    bad = {}
    for index in range(5):
        try:
            assert source[index].captions[0].startswith("text ")
        except BadSample as found:
            bad[found.name] = found.reason
    assert len(bad) == 2 and all(name.startswith("flat_pairs:train/") for name in bad)
    image, caption = sorted(bad.values(), key=lambda reason: "caption" in reason)
    assert image.startswith("cannot be decoded") and caption == "its caption is empty"


def test_threads_read_the_same(root):
    source = TfdsPairs(["nested_coco:train", "nested_coco:val"], root)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda index: source[index].captions[0], [*range(7)] * 20))
    assert found == [pair.captions[0] for pair in pairs_of(source)] * 20


def test_it_can_be_sent_to_another_process(root):
    source = TfdsPairs(["nested_coco:train", "nested_coco:val"], root)
    sent = pickle.loads(pickle.dumps(source))
    assert [pair.captions for pair in pairs_of(sent)] == [
        pair.captions for pair in pairs_of(source)
    ]


def test_features_may_be_chosen(root):
    names = ["two_of_each:val"]
    pair = TfdsPairs(names, root, image_field="right", caption_field="second")[0]
    assert pair.captions == ("two",)
    assert pair.image[0, 0, 0] >= 199
    with pytest.raises(
        ValueError, match=r"which feature has the images\? Set data\.image_field to.*left, right"
    ):
        TfdsPairs(names, root)
    with pytest.raises(ValueError, match=r"Set data\.caption_field to one of first, second"):
        TfdsPairs(names, root, image_field="left")
    with pytest.raises(ValueError, match=r"data\.caption_field=frist: no such.*mean 'first'"):
        TfdsPairs(names, root, "left", "frist")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nested_coco", "names no split; write nested_coco:train"),
        ("nested_coco:1.0.0", "names no split"),
        ("nested_coc:train", "no such data set in .*did you mean 'nested_coco'"),
        ("nested_coco:2.0.0:train", r"\S+nested_coco has only 1\.0\.0; name one"),
        ("nested_coco:trian", r"Unknown split 'trian'.*has the splits train, val"),
        ("nested_coco:train[:5", "Error parsing split"),
        (
            "coco_captions:train",
            r"not prepared in .*`tfds build coco_captions --file_format=array_r",
        ),
    ],
)
def test_what_cannot_be_opened_is_named_with_a_remedy(root, name, message):
    with pytest.raises(ValueError, match=rf"data\.eval_files[\s\S]*: {message}"):
        TfdsPairs([name], root, setting="data.eval_files")


def test_another_file_format_is_refused_with_a_remedy(root, tmp_path):
    kept = root / "nested_coco" / "1.0.0"
    copy = tmp_path / "nested_coco" / "1.0.0"
    copy.mkdir(parents=True)
    for name in ("dataset_info.json", "features.json"):
        (copy / name).write_bytes((kept / name).read_bytes())
    told = json.loads((copy / "dataset_info.json").read_text("utf-8"))
    (copy / "dataset_info.json").write_text(json.dumps({**told, "fileFormat": "tfrecord"}))
    with pytest.raises(ValueError, match=r"stored as tfrecord, .*--file_format=array_record"):
        TfdsPairs(["nested_coco:train"], tmp_path)


def test_all_problems_come_in_one_message(root):
    with pytest.raises(ValueError) as refused:
        TfdsPairs(["nested_coco:trian", "nested_coco"], root)
    assert "Unknown split" in str(refused.value) and "names no split" in str(refused.value)
    with pytest.raises(ValueError, match=r"no data sets given \(data\.train_files\)"):
        TfdsPairs([], root)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("a:train", ("a", "train")),
        ("a/b:1.0.0:train[:50%]", ("a/b:1.0.0", "train[:50%]")),
        ("/d/a/1.0.0:train[10:20]", ("/d/a/1.0.0", "train[10:20]")),
        ("a:train[:5%]+val[5:]", ("a", "train[:5%]+val[5:]")),
    ],
)
def test_name_and_split(name, parts):
    assert split_of(name) == parts


def test_the_library_is_imported_only_when_it_is_needed():
    code = "import sys, albef_jax.data.build; sys.exit('tensorflow_datasets' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", ["v[1]", "a@2", "x*", "{a,b}", "a?b", "two words", "50%"])
def test_a_folder_may_be_named_like_a_pattern(root, tmp_path, name):
    shutil.copytree(root, tmp_path / name)
    expected = [pair.name for pair in TfdsPairs(["nested_coco:train"], root)]
    assert [pair.name for pair in TfdsPairs(["nested_coco:train"], tmp_path / name)] == expected


def test_files_are_those_of_the_data_set(root):
    names = {file.name for file in TfdsPairs(["nested_coco:train"], root).files}
    assert "dataset_info.json" in names and any(".array_record" in name for name in names)
