"""Image classification by prompts: `configs/zero_shot.py[:preset]`; needs `init.checkpoint`.

demo      64 kinds of objects of the built-in world, for a run of its demo (the bare file)
folder    your images: a folder with a sub-folder a class, `--config.data.image_root=DIR`
imagenet  ImageNet's validation images, a folder a class; names in data/imagenet_classes.txt
"""

from ml_collections import ConfigDict

from albef_jax.config import recipe, use_small_world


def get_config(preset: str = "demo") -> ConfigDict:
    """The recipe of that name."""
    return recipe("zero_shot", preset, {"demo": demo, "folder": folder, "imagenet": imagenet})


def demo(config: ConfigDict) -> None:
    """Scenes of one object, whose colour and shape are the class."""
    use_small_world(config)
    config.data.template = "a picture of a {}"
    config.evaluation.limit = 1000


def folder(config: ConfigDict) -> None:
    """The names of the sub-folders are the classes."""
    config.data.source = "folder"


def imagenet(config: ConfigDict) -> None:
    """Class names in the order of the sorted folders, n01440764 and so on."""
    folder(config)
    config.data.root = "data"
    config.data.image_root = "imagenet/val"
    config.data.classes = "imagenet_classes.txt"
