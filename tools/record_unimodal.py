"""Records small random BERT, ViT and DeiT models of `transformers`, and their outputs.

Writes `tests/golden/unimodal`, which `tests/checkpoints/test_unimodal.py` reads. It needs torch and
transformers, in an environment of its own.

Weights are rounded to float16 and saved as such, to keep the files small; the models then run in
float32. LayerNorm's epsilon is 1e-6 in ViT and DeiT, as in our image encoder.

Example:
    python -m tools.record_unimodal
"""

import argparse
import re
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    argparse.ArgumentParser(
        prog="python -m tools.record_unimodal",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).parse_args()

import numpy as np
import torch
import transformers

FOLDER = Path(__file__).parents[1] / "tests/golden/unimodal"
SIZES: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
IMAGE: dict[str, Any] = {**SIZES, "intermediate_size": 128, "image_size": 32, "patch_size": 8}
TEXT: dict[str, Any] = {
    **SIZES,
    "intermediate_size": 64,
    "vocab_size": 60,
    "max_position_embeddings": 20,
}

# timm's names, which DeiT's own files have too
TO_TIMM = [
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^embeddings\.distillation_token$", "dist_token"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^layers\.(\d+)\.attention\.o_proj\.", r"blocks.\1.attn.proj."),
    (r"^layers\.(\d+)\.layernorm_before\.", r"blocks.\1.norm1."),
    (r"^layers\.(\d+)\.layernorm_after\.", r"blocks.\1.norm2."),
    (r"^layers\.(\d+)\.mlp\.", r"blocks.\1.mlp."),
    (r"^layernorm\.", "norm."),
]


def randomise(model: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Every parameter random, norms around 1, rounded to float16."""
    torch.manual_seed(seed)
    for name, parameter in model.named_parameters():
        noise = 0.2 * torch.randn(parameter.shape)
        scale = "norm" in name.lower() and name.endswith("weight")
        parameter.data = (noise + float(scale)).half().float()
    return model.eval()


def save(model: torch.nn.Module, folder: str) -> None:
    """As `save_pretrained` does, in float16."""
    model.half().save_pretrained(FOLDER / folder)
    model.float()


def record_text() -> dict[str, torch.Tensor]:
    """BERT with its vocabulary head; the second time in the form of old files."""
    config = transformers.BertConfig(**TEXT)
    model = randomise(transformers.BertForPreTraining(config), 0)
    old = {name: tensor.half().clone() for name, tensor in model.state_dict().items()}
    ends = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    for end, before in ends.items():
        old = {name.replace(end, before): tensor for name, tensor in old.items()}
    old["bert.embeddings.position_ids"] = torch.arange(20)[None]
    (FOLDER / "bert_old").mkdir(exist_ok=True)
    torch.save(old, FOLDER / "bert_old" / "pytorch_model.bin")

    masked = transformers.BertForMaskedLM(config).eval()
    shared = {name: v for name, v in model.state_dict().items() if name in masked.state_dict()}
    masked.load_state_dict(shared)
    save(masked, "bert")
    text_ids = torch.randint(1, 60, (3, 7))
    text_mask = (torch.arange(7) < torch.tensor([[7], [4], [5]])).long()
    out = masked(input_ids=text_ids, attention_mask=text_mask, output_hidden_states=True)
    return {
        "text_ids": text_ids,
        "text_mask": text_mask,
        "text_hidden": torch.stack(out.hidden_states),
        "text_logits": out.logits,
    }


def record_image() -> dict[str, torch.Tensor]:
    """ViT, at its own image size and at a larger one."""
    config = transformers.ViTConfig(**IMAGE, layer_norm_eps=1e-6)
    model = randomise(transformers.ViTForImageClassification(config), 1)
    save(model, "vit")
    image, large = torch.randn(2, 3, 32, 32), torch.randn(2, 3, 48, 48)
    resized = model.vit(pixel_values=large, interpolate_pos_encoding=True)
    return {"image": image, "large_image": large} | {
        "vit": model.vit(pixel_values=image).last_hidden_state,
        "vit_large": resized.last_hidden_state,
    }


def record_distilled(image: torch.Tensor) -> dict[str, torch.Tensor]:
    """DeiT with a distillation token, under both kinds of names.

    Its outputs are recorded without that token, by a ViT that has DeiT's other weights.
    """
    model = randomise(transformers.DeiTModel(transformers.DeiTConfig(**IMAGE)), 2)
    save(model, "deit")
    state = dict(model.state_dict())
    timm = {name: tensor.half() for name, tensor in to_timm(state).items()}
    timm |= {"head.weight": torch.zeros(5, 32), "head_dist.weight": torch.zeros(5, 32)}
    torch.save({"model": timm}, FOLDER / "deit.pth")

    config = transformers.ViTConfig(**IMAGE, layer_norm_eps=1e-6)
    vit = transformers.ViTModel(config, add_pooling_layer=False).eval()
    del state["embeddings.distillation_token"]
    positions = state["embeddings.position_embeddings"]
    state["embeddings.position_embeddings"] = torch.cat([positions[:, :1], positions[:, 2:]], 1)
    vit.load_state_dict({name: v for name, v in state.items() if not name.startswith("pooler")})
    return {"deit": vit(pixel_values=image).last_hidden_state}


def to_timm(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same weights under timm's names, query, key and value in one."""
    found = {}
    for name, tensor in state.items():
        for pattern, replacement in TO_TIMM:
            if re.match(pattern, name):
                found[re.sub(pattern, replacement, name)] = tensor
    for layer in range(SIZES["num_hidden_layers"]):
        for end in ("weight", "bias"):
            parts = [state[f"layers.{layer}.attention.{part}_proj.{end}"] for part in "qkv"]
            found[f"blocks.{layer}.attn.qkv.{end}"] = torch.cat(parts)
    return found


def main() -> None:
    """Rewrite everything."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        arrays = record_text() | record_image()
        arrays |= record_distilled(arrays["image"])
    plain = {name: tensor.numpy() for name, tensor in arrays.items()}
    np.savez_compressed(FOLDER / "computed.npz", **plain)


if __name__ == "__main__":
    main()
