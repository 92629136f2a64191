"""Question answering recipes: `configs/vqa.py[:preset]`, listed in docs/tasks/vqa.md."""

from ml_collections import ConfigDict

from albef_jax.config import recipe, use_small_world


def get_config(preset: str = "demo") -> ConfigDict:
    """The recipe of a preset."""
    return recipe("vqa", preset, {"demo": demo, "vqa": vqa})


def demo(config: ConfigDict) -> None:
    """A tiny model on the built-in world."""
    use_small_world(config)
    config.data.update({"text_len": 20, "answer_len": 4, "max_answers": 1})
    config.data.scenes.objects = 3
    # A run this short learns more without a teacher, which is no better than its student.
    config.train.update({"steps": 1500, "momentum": 0.98, "distill": False})
    config.optimizer.lr = 3e-4
    config.evaluation.update({"limit": 1000, "batch_size": 64, "rank": 16})


def vqa(config: ConfigDict) -> None:
    """VQA v2; its images are those of COCO."""
    config.data.root = "data"
    config.data.train_files = "vqa_train.json,vqa_val.json,vg_qa.json"
    config.data.eval_files = "vqa_test.json"
    config.data.answer_list = "answer_list.json"
    config.data.image_root = "coco"
    config.data.vg_image_root = "visual_genome"
