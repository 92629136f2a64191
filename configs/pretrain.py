"""Pre-training recipes: `configs/pretrain.py[:preset]`, listed in docs/pretraining.md."""

from ml_collections import ConfigDict

from albef_jax.config import recipe, use_preset, use_small_world
from albef_jax.config.auto import use_auto


def get_config(preset: str = "demo") -> ConfigDict:
    """The recipe of a preset."""
    return recipe(
        "pretrain",
        preset,
        {
            "demo": demo,
            "world": world,
            "4m": official_4m,
            "14m": official_14m,
            "4m_fast": fast_4m,
            "14m_fast": fast_14m,
            "local": local,
            "few": few,
            "laptop": laptop,
            "easy_vqa": easy_vqa,
        },
    )


def demo(config: ConfigDict) -> None:
    """A tiny model on the built-in world, as far as some minutes on two cores allow."""
    use_small_world(config)
    config.train.update(
        {
            "steps": 800,
            # Small batches: the first steps, in which nothing seems to happen, pass sooner.
            "batch_size": 32,
            "contrast_group": 32,
            "queue_size": 256,
            "mlm_probability": 0.3,
        }
    )
    # At the rate of the weights the temperature would fall to 0.004 within a hundred steps, before
    # there is anything to contrast.
    config.optimizer.lr_scale = "temperature=0.1"
    # The caption that names every object: it hardly ever fits another image of the batch.
    config.data.scenes.captions = 1
    config.evaluation.update({"limit": 500, "rerank": 16})


def world(config: ConfigDict) -> None:
    """The demo for two hours: what `albef_jax.load("scenes")` loads."""
    demo(config)
    # These captions are never wrong: the teacher still helps where ITC has false negatives, but
    # would only blur the answers of MLM.
    config.train.update({"steps": 9000, "distilled": "itc"})
    config.data.scenes.train_size = 288_000
    config.checkpoint.every_steps = 500
    config.log.every_steps = 50


def easy_vqa(config: ConfigDict) -> None:
    """Captions of the training images of easy-VQA: the start of `configs/vqa.py:easy_vqa`."""
    demo(config)
    config.model.vocab_size = 103
    config.data.update({"source": "json", "root": "data/easy_vqa", "train_files": "captions.json"})
    config.data.update({"vocab": "data/easy_vqa/vocab.txt", "text_len": 10})
    # There are 24 different captions: a hard negative would often be the caption of the image.
    config.train.update({"steps": 1000, "negatives": "random"})


def official_4m(config: ConfigDict) -> None:
    """The 4M recipe (paper section 3.5): batch 512, 30 epochs, queue 65,536, 256 px."""
    config.data.root = "data"
    config.data.train_files = "coco.json,vg.json,sbu.json,cc3m_train.json,cc3m_val.json"


def official_14m(config: ConfigDict) -> None:
    """The 14M recipe: the 4M sets and Conceptual 12M."""
    official_4m(config)
    config.data.train_files += ",cc12m.json"


def fast_4m(config: ConfigDict) -> None:
    """The 4M recipe in the fastest way that the devices allow: another precision than official."""
    official_4m(config)
    use_auto(config)


def fast_14m(config: ConfigDict) -> None:
    """The 14M recipe in the same way."""
    official_14m(config)
    use_auto(config)


def local(config: ConfigDict) -> None:
    """The official recipe cut to one GPU: the small model, batch 64, as fast as the GPU allows."""
    use_preset(config, "small")
    use_auto(config)
    config.train.update({"batch_size": 64, "queue_size": 16_384})


def few(config: ConfigDict) -> None:
    """150 to 1,000 of your own pairs: two frozen public encoders, and what learns to compare them.

    Sizes are those of ViT-S/14 and of a MiniLM of six layers (`init.vision`, `init.text`).
    """
    sizes = {"image_size": 224, "patch_size": 14, "text_heads": 12, "fusion_depth": 1}
    # The mean over tokens is what sentence encoders are trained for. A temperature that is learned
    # falls until every training pair is known by heart.
    use_preset(config, "small", **sizes, text_pooling="mean", temperature=0.2)
    config.data.update({"crop_scale": (0.5, 1.0), "randaugment_ops": 0, "threads": 2})
    config.train.update(
        {
            "frozen": "image_encoder,text_encoder,temperature",
            "cached_views": 7,
            "batch_size": 64,
            "steps": 240,
            "contrast_group": 64,
            # With the batch, about all of them; a photo's own captions are no wrong answers.
            "queue_size": 64,
            "same_image_positives": True,
            "momentum": 0.98,
        }
    )
    config.optimizer.update({"schedule": "cosine", "lr": 1e-3, "warmup_steps": 20})
    config.checkpoint.every_steps = 100
    config.log.every_steps = 20
    config.evaluation.update({"limit": 0, "rerank": 16})


def laptop(config: ConfigDict) -> None:
    """A tiny model that memorises a few hundred of your own pairs, on a CPU."""
    use_preset(config, "tiny")
    config.data.update({"augment": "none", "threads": 2})
    config.train.update(
        {
            "batch_size": 64,
            "steps": 1000,
            "contrast_group": 64,
            # In a small set a longer queue would hold the batch's own images as negatives.
            "queue_size": 64,
            "momentum": 0.98,
        }
    )
    config.optimizer.update({"schedule": "cosine", "lr": 1e-3, "warmup_steps": 50})
    config.checkpoint.every_steps = 200
    config.log.every_steps = 20
    config.evaluation.update({"limit": 500, "rerank": 16})
