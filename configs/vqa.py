"""Question answering recipes: `configs/vqa.py[:preset]`, listed in docs/tasks/vqa.md."""

from ml_collections import ConfigDict

from albef_jax.config import recipe, use_small_world


def get_config(preset: str = "demo") -> ConfigDict:
    """The recipe of a preset."""
    return recipe("vqa", preset, {"demo": demo, "vqa": vqa, "easy_vqa": easy_vqa})


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


def easy_vqa(config: ConfigDict) -> None:
    """easy-VQA, from `configs/pretrain.py:easy_vqa`: the tiny model with words of its own."""
    use_small_world(config)
    config.model.vocab_size = 103
    config.data.update(
        {"source": "json", "root": "data/easy_vqa", "vocab": "data/easy_vqa/vocab.txt"}
    )
    config.data.train_files = "train.json"
    config.data.eval_files = "test.json"
    config.data.answer_list = "answers.txt"
    # No question has more than nine words, and each has one answer of one word.
    config.data.update({"text_len": 10, "answer_len": 3, "max_answers": 1})
    # Which answers a negation turns round is learned suddenly, after some 4,500 steps.
    config.train.update({"batch_size": 32, "steps": 6000, "distill": False})
    # At 1e-3 batches of 32 are unstable; the image encoder bears it.
    config.optimizer.update({"lr": 4e-4, "lr_scale": "image_encoder=2.5", "warmup_steps": 100})
    config.checkpoint.every_steps = 500
    config.evaluation.update({"batch_size": 64, "rank": 16})
