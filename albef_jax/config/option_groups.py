"""Options that several tasks have: where pairs come from, contrast, fine-tuning, distillation."""

from ml_collections import ConfigDict


def pair_options(config: ConfigDict) -> None:
    """Sources of image-caption pairs besides JSON files."""
    config.data.update(
        {
            "eval_source": "",  # the kind of eval_files; empty: data.source
            # What holds the captions: a field of .json files (webdataset), a feature (tfds).
            "caption_field": "",
            "image_field": "",  # the feature that holds the image (tfds)
            # Parts to train on instead of train_files, each a dictionary with name and source,
            # and where they apply files, image_root, caption_field, image_field and weight.
            "mixture": (),
        }
    )


def frozen_image_options(config: ConfigDict) -> None:
    """What pairs with a frozen image encoder allow."""
    # Views of each training image whose tokens are computed once and kept on disk; 0 for none.
    config.train.cached_views = 0


def contrast_options(config: ConfigDict) -> None:
    """A teacher with queues, and what a pair is compared with."""
    config.train.update(
        {"contrast_group": 64, "queue_size": 65_536, "momentum": 0.995, "alpha": 0.4}
    )
    config.train.negatives = "hard"  # of ITM: hard | random


def finetune_options(config: ConfigDict, batch_size: int, epochs: int, lr: float) -> None:
    """What the official fine-tuning recipes have in common."""
    config.model.image_size = 384
    config.data.crop_scale = (0.5, 1.0)
    config.train.update({"batch_size": batch_size, "epochs": epochs})
    config.optimizer.update({"lr": lr, "min_lr": 1e-6, "warmup_periods": 1})
    config.evaluation.limit = 0  # held-out items to evaluate on; 0 for all


def distillation_options(config: ConfigDict, ramp: float = 1.0) -> None:
    """Momentum distillation, which `distill=False` switches off."""
    config.train.update(
        {"distill": True, "momentum": 0.995, "alpha": 0.4, "alpha_ramp_epochs": ramp}
    )
