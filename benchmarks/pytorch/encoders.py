"""The three encoders in PyTorch, with the official names of parameters.

Written from the paper and `docs/ledger.md`, one operation after another as PyTorch users write it:
explicit attention, every layer on its own. A difference from our models would show in
`tests/benchmarks/test_pytorch_step.py`.
Shape letters: B texts or images, T text tokens, N image tokens, S keys, D width, V vocabulary.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from albef_jax.models.attention import CROSS_PENALTY, SELF_PENALTY
from albef_jax.models.bert import EPSILON as BERT_EPSILON
from albef_jax.models.config import ModelConfig
from albef_jax.models.vit import EPSILON as VIT_EPSILON


def parts(**modules: nn.Module) -> nn.ModuleDict:
    """Modules under names that may hold anything."""
    return nn.ModuleDict(modules)


def heads_first(x: Tensor, heads: int) -> Tensor:
    """`[B, S, D]` as `[B, H, S, D / H]`."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def attend(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, dropout: float
) -> Tensor:
    """Softmax attention of heads, `[B, H, T, K]` to `[B, T, D]`; `dropout` on probabilities."""
    scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
    probabilities = torch.softmax(scores if bias is None else scores + bias, -1)
    attended = functional.dropout(probabilities, dropout) @ value
    return attended.transpose(1, 2).flatten(2)


class Block(nn.Module):
    """A pre-norm block of the image encoder."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        width = config.image_width
        self.heads = config.image_heads
        self.norm1 = nn.LayerNorm(width, VIT_EPSILON)
        self.attn = parts(qkv=nn.Linear(width, 3 * width), proj=nn.Linear(width, width))
        self.norm2 = nn.LayerNorm(width, VIT_EPSILON)
        self.mlp = parts(fc1=nn.Linear(width, 4 * width), fc2=nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        qkv = self.attn["qkv"](self.norm1(x)).chunk(3, -1)
        query, key, value = (heads_first(part, self.heads) for part in qkv)
        x = x + self.attn["proj"](attend(query, key, value, None, 0.0))
        return x + self.mlp["fc2"](functional.gelu(self.mlp["fc1"](self.norm2(x))))


class ImageEncoder(nn.Module):
    """The Vision Transformer: images `[B, 3, H, W]` to tokens `[B, N, D]`."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        width, patch = config.image_width, config.patch_size
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, config.image_tokens, width))
        self.patch_embed = parts(proj=nn.Conv2d(3, width, patch, patch))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.image_depth))
        self.norm = nn.LayerNorm(width, VIT_EPSILON)

    def forward(self, image: Tensor) -> Tensor:
        """Encode normalised images."""
        patches = self.patch_embed["proj"](image).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(image), -1, -1), patches], 1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class Attention(nn.Module):
    """BERT's attention with projection, dropout, residual and norm."""

    def __init__(self, config: ModelConfig, key_width: int):
        super().__init__()
        width = config.text_width
        self.config = config
        names = {"query": width, "key": key_width, "value": key_width}
        self.self = parts(**{name: nn.Linear(size, width) for name, size in names.items()})
        norm = nn.LayerNorm(width, BERT_EPSILON)
        self.output = parts(dense=nn.Linear(width, width), LayerNorm=norm)

    def forward(self, x: Tensor, source: Tensor, bias: Tensor) -> Tensor:
        """Attend from `x [B, T, D]` to `source [B, S, E]`."""
        heads = self.config.text_heads
        query = heads_first(self.self["query"](x), heads)
        key, value = (heads_first(self.self[name](source), heads) for name in ("key", "value"))
        attended = attend(query, key, value, bias, self.config.attention_dropout)
        out = functional.dropout(self.output["dense"](attended), self.config.dropout)
        return self.output["LayerNorm"](out + x)


class Layer(nn.Module):
    """A BERT layer, with cross-attention if it fuses."""

    def __init__(self, config: ModelConfig, fuses: bool):
        super().__init__()
        width, hidden = config.text_width, config.text_intermediate
        self.dropout = config.dropout
        self.attention = Attention(config, width)
        if fuses:
            self.crossattention = Attention(config, config.encoder_width)
        self.intermediate = parts(dense=nn.Linear(width, hidden))
        norm = nn.LayerNorm(width, BERT_EPSILON)
        self.output = parts(dense=nn.Linear(hidden, width), LayerNorm=norm)

    def forward(self, x: Tensor, bias: Tensor, image: Tensor | None) -> Tensor:
        """Apply the layer."""
        x = self.attention(x, x, bias)
        if image is not None:
            x = self.crossattention(x, image, seen(torch.ones(image.shape[:2]), CROSS_PENALTY))
        hidden = functional.gelu(self.intermediate["dense"](x))
        out = functional.dropout(self.output["dense"](hidden), self.dropout)
        return self.output["LayerNorm"](out + x)


def seen(mask: Tensor, penalty: float) -> Tensor:
    """Additive scores `[B, 1, 1, S]` that hide keys of mask 0."""
    return (1.0 - mask[:, None, None, :].float()) * penalty


class Bert(nn.Module):
    """Embeddings, and layers of which the last fuse."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        width = config.text_width
        self.embeddings = parts(
            word_embeddings=nn.Embedding(config.vocab_size, width),
            position_embeddings=nn.Embedding(config.max_positions, width),
            token_type_embeddings=nn.Embedding(2, width),
            LayerNorm=nn.LayerNorm(width, BERT_EPSILON),
        )
        depths = config.text_depth, config.fusion_depth
        layers = [Layer(config, fuses) for fuses in (False, True) for _ in range(depths[fuses])]
        self.encoder = parts(layer=nn.ModuleList(layers))

    def encode(self, text_ids: Tensor, mask: Tensor) -> Tensor:
        """Texts alone, `[B, T, D]`."""
        table = self.embeddings
        x = table["word_embeddings"](text_ids)
        x = x + table["position_embeddings"](torch.arange(text_ids.shape[1]))
        x = table["LayerNorm"](x + table["token_type_embeddings"](torch.zeros_like(text_ids)))
        x = functional.dropout(x, self.config.dropout)
        return self._layers(x, mask, None, slice(0, self.config.text_depth))

    def fuse(self, text: Tensor, mask: Tensor, image: Tensor) -> Tensor:
        """Texts that read images, `[B, T, D]`."""
        return self._layers(text, mask, image, slice(self.config.text_depth, None))

    def _layers(self, x: Tensor, mask: Tensor, image: Tensor | None, which: slice) -> Tensor:
        bias = seen(mask, SELF_PENALTY)
        for layer in list(self.encoder["layer"])[which]:  # type: ignore[call-overload]
            x = layer(x, bias, image)
        return x


class TextEncoder(nn.Module):
    """BERT and its vocabulary head, whose matrix is that of the word embeddings."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        width = config.text_width
        self.bert = Bert(config)
        decoder = nn.Linear(width, config.vocab_size, bias=False)
        decoder.weight = self.bert.embeddings["word_embeddings"].weight
        transform = parts(
            dense=nn.Linear(width, width), LayerNorm=nn.LayerNorm(width, BERT_EPSILON)
        )
        self.cls = parts(predictions=parts(transform=transform, decoder=decoder))
        self.cls["predictions"].bias = nn.Parameter(torch.zeros(config.vocab_size))

    def vocabulary(self, x: Tensor) -> Tensor:
        """Logits `[B, T, V]`."""
        head = self.cls["predictions"]
        x = functional.gelu(head["transform"]["dense"](x))
        return head["decoder"](head["transform"]["LayerNorm"](x)) + head.bias
