import pytest

from albef_jax.config.file_patterns import (
    expand,
    is_remote,
    is_unreadable,
    not_here,
    not_read,
    split_list,
)
from albef_jax.storage.addresses import in_bucket


@pytest.fixture
def root(tmp_path):
    (tmp_path / "cc").mkdir()
    for name in (
        "cc/00002.tar",
        "cc/00000.tar",
        "cc/00001.tar",
        "cc/.00000.tar.index.npz",
        "a.json",
    ):
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        (" a.json , b.json,", ("a.json", "b.json")),
        ("x:train[:5%],{a,b}.json", ("x:train[:5%]", "{a,b}.json")),
    ],
)
def test_commas_in_brackets_and_braces_separate_nothing(text, expected):
    assert split_list(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("b.json,a.json", ["b.json", "a.json"]),
        ("cc/*", ["cc/00000.tar", "cc/00001.tar", "cc/00002.tar"]),
        ("**/*.tar", ["cc/00000.tar", "cc/00001.tar", "cc/00002.tar"]),
        ("cc/{00001..00003}.tar", ["cc/00001.tar", "cc/00002.tar", "cc/00003.tar"]),
        ("{x,y}/{9..10}.tar", ["x/9.tar", "x/10.tar", "y/9.tar", "y/10.tar"]),
        ("{cc,dd}/*1.tar", ["cc/00001.tar", "dd/*1.tar"]),
        ("{b}.json,{5..3}.json", ["{b}.json", "{5..3}.json"]),
        ("no/*.tar", ["no/*.tar"]),
    ],
)
def test_patterns_stand_for_files(root, text, expected):
    assert expand(root, text) == tuple(root / name for name in expected)


def test_a_file_may_be_named_like_a_pattern(root):
    for name in ("[a].json", "{1..2}.json"):
        (root / name).touch()
        assert expand(root, name) == (root / name,)


@pytest.mark.parametrize("folder", ["v[1]", "v*", "v?", "{v1,w}", "{1..2}", "a[!b]c", "**"])
def test_only_the_entry_is_a_pattern(tmp_path, folder):
    """Beside the root lie others that its name would match."""
    for name in (folder, "v1", "w", "1", "2", "axc"):
        (tmp_path / name).mkdir()
        for file in ("a1.json", "a2.json"):
            (tmp_path / name / file).touch()
    root = tmp_path / folder
    both = (root / "a1.json", root / "a2.json")
    for text in ("a*.json", "a[12].json", "a{1,2}.json", "a{1..2}.json"):
        assert expand(root, text) == both, text
    assert expand(tmp_path, f"{folder}/a?.json") == both  # a folder of exactly that name
    assert expand(tmp_path / "no", f"{root}/a?.json") == both
    assert expand(root, "b*.json") == (root / "b*.json",)


def test_a_root_that_is_not_there_is_no_pattern(tmp_path):
    (tmp_path / "v1").mkdir()
    (tmp_path / "v1" / "a1.json").touch()
    for text in ("a*.json", "a1.json", "a{1,2}.json"):
        assert all(path.parent == tmp_path / "v[1]" for path in expand(tmp_path / "v[1]", text))


def test_absolute_paths_need_no_root(root):
    assert expand("elsewhere", str(root / "cc" / "*0.tar")) == (root / "cc" / "00000.tar",)


@pytest.mark.parametrize("name", ["gs://b/x.tar", "s3://b", "https://x/y.tar", "pipe:cat x.tar"])
def test_addresses_are_told_from_paths(name):
    assert is_remote(name)
    assert is_unreadable(name) == (not in_bucket(name))
    assert "mount" in not_here("data.train_files", name)
    assert "gs://BUCKET/NAME" in not_read("data.train_files", name)


@pytest.mark.parametrize("name", ["/data/x.tar", "coco_captions:train", "c/d:e.tar", ""])
def test_paths_are_no_addresses(name):
    assert not is_remote(name)
