"""Question answering recipes: `configs/vqa.py[:preset]`.

demo  the built-in world and a tiny model, minutes on a laptop (the bare file)
vqa   the published fine-tuning: VQA v2 train, val and Visual Genome (paper table 4)
"""

from ml_collections import ConfigDict

from albef_jax.config import default, use_preset


def get_config(preset: str = "demo") -> ConfigDict:
    """The recipe of that name."""
    recipes = {"demo": demo, "vqa": vqa}
    if preset not in recipes:
        raise ValueError(f"configs/vqa.py has no preset {preset!r}; it has {sorted(recipes)}")
    config = default("vqa")
    config.preset = preset
    recipes[preset](config)
    return config


def demo(config: ConfigDict) -> None:
    """A tiny model on the built-in world."""
    use_preset(config, "tiny", vocab_size=480)
    config.data.update({"source": "scenes", "vocab": "scenes", "augment": "none", "threads": 2})
    config.data.update({"text_len": 20, "answer_len": 4, "max_answers": 1})
    config.data.scenes.train_size = 64_000
    config.train.update({"batch_size": 64, "steps": 1000, "momentum": 0.98})
    config.optimizer.update({"schedule": "cosine", "lr": 1e-3, "warmup_steps": 50})
    config.checkpoint.every_steps = 200
    config.log.every_steps = 20
    config.evaluation.update({"limit": 1000, "batch_size": 64, "rank": 16})


def vqa(config: ConfigDict) -> None:
    """VQA v2; its pictures are those of COCO."""
    config.data.root = "data"
    config.data.train_files = "vqa_train.json,vqa_val.json,vg_qa.json"
    config.data.eval_files = "vqa_test.json"
    config.data.answer_list = "answer_list.json"
    config.data.image_root = "coco"
    config.data.vg_image_root = "visual_genome"
