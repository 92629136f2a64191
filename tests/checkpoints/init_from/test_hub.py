import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from albef_jax.checkpoints.init_from.hub import is_hub_name, local_path
from albef_jax.errors import CheckpointError


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub without a network, whose models have the files in `has`."""
    fake = SimpleNamespace(has=[], asked=[])

    def snapshot_download(name, allow_patterns):
        fake.asked.append((name, allow_patterns))
        directory = tmp_path / "cache"
        directory.mkdir(exist_ok=True)
        for file in {*fake.has} & {*allow_patterns}:
            (directory / file).touch()
        return str(directory)

    fake.snapshot_download = snapshot_download
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)
    monkeypatch.chdir(tmp_path)
    return fake


@pytest.mark.parametrize("name", ["bert-base-uncased", "google/vit-base-patch16-224", "a.b/c_d"])
def test_names_of_the_hub(name):
    assert is_hub_name(name)


@pytest.mark.parametrize(
    "name", ["/data/bert", "./bert", "../bert", "a/b/c", "bert/", "deit.pth", "a/model.bin", ""]
)
def test_paths_are_no_names_of_the_hub(name):
    assert not is_hub_name(name)


def test_what_is_here_is_not_downloaded(hub, tmp_path):
    (tmp_path / "bert").mkdir()
    assert local_path("bert", "init.text") == Path("bert")
    assert hub.asked == []


def test_the_few_files_needed_are_downloaded(hub, tmp_path):
    hub.has = ["model.safetensors", "pytorch_model.bin", "vocab.txt"]
    assert local_path("org/bert", "init.text") == tmp_path / "cache"
    assert hub.asked == [("org/bert", ["model.safetensors", "config.json", "vocab.txt"])]
    files = sorted(path.name for path in (tmp_path / "cache").iterdir())
    assert files == ["model.safetensors", "vocab.txt"]


def test_older_models_have_a_pytorch_file_alone(hub, tmp_path):
    hub.has = ["pytorch_model.bin"]
    assert local_path("org/bert", "init.text") == tmp_path / "cache"
    assert (tmp_path / "cache" / "pytorch_model.bin").is_file()


def test_a_model_without_weights_of_a_known_name(hub):
    with pytest.raises(CheckpointError, match=r"neither model\.safetensors nor pytorch_model\.bin"):
        local_path("org/bert", "init.text")


def test_without_a_network_the_message_names_the_option_and_the_way_out(hub, monkeypatch):
    def fail(name, allow_patterns):
        raise ConnectionError("no route to host\nand a long story")

    monkeypatch.setattr(hub, "snapshot_download", fail)
    with pytest.raises(CheckpointError) as error:
        local_path("bert-base-uncased", "init.text")
    assert str(error.value) == (
        "init.text=bert-base-uncased: no such file or directory here, and no download from the "
        "Hugging Face hub (no route to host); download config.json, vocab.txt and "
        "model.safetensors or pytorch_model.bin of the model elsewhere, and set init.text to the "
        "directory"
    )


def test_without_the_package_the_message_is_the_same(hub, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(CheckpointError, match=r"init\.vision=org/vit: .*huggingface_hub.*set init"):
        local_path("org/vit", "init.vision")


def test_a_path_that_is_not_there_is_never_asked_for(hub):
    with pytest.raises(CheckpointError, match=r"^init\.vision=\./deit\.pth: no such file or dir"):
        local_path("./deit.pth", "init.vision")
    assert hub.asked == []
