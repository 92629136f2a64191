"""A pre-training step in PyTorch around `encoders`, as the paper describes it (section 3).

Four fusion passes, each with keys and values of its own; the vocabulary head at every token; the
teacher's passes and the student's; one process, one contrast group. AdamW is PyTorch's own.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from albef_jax.models.config import ModelConfig
from benchmarks.pytorch.encoders import ImageEncoder, TextEncoder

IGNORED = -100


class Features(NamedTuple):
    """What a model reads in a batch: tokens of both sides, and their features `[B, E]`."""

    image_embeds: Tensor
    text_embeds: Tensor
    image: Tensor
    text: Tensor


class Batch(NamedTuple):
    """Images `[B, 3, H, W]`, texts, texts with masked tokens; labels are `IGNORED` elsewhere."""

    image: Tensor
    text_ids: Tensor
    text_mask: Tensor
    masked_ids: Tensor
    labels: Tensor


class Model(nn.Module):
    """The student or the teacher; what the official teacher lacks is not used there."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.visual_encoder = ImageEncoder(config)
        self.text_encoder = TextEncoder(config)
        self.vision_proj = nn.Linear(config.image_width, config.embed_dim)
        self.text_proj = nn.Linear(config.text_width, config.embed_dim)
        self.itm_head = nn.Linear(config.text_width, 2)
        self.temp = nn.Parameter(torch.tensor(config.temperature))

    def read(self, batch: Batch) -> Features:
        """Encode both sides."""
        image = self.visual_encoder(batch.image)
        text = self.text_encoder.bert.encode(batch.text_ids, batch.text_mask)
        return Features(
            image,
            text,
            functional.normalize(self.vision_proj(image[:, 0]), dim=-1),
            functional.normalize(self.text_proj(text[:, 0]), dim=-1),
        )

    def words(self, batch: Batch, image_embeds: Tensor) -> Tensor:
        """Vocabulary logits of the masked texts, given the images."""
        text = self.text_encoder.bert.encode(batch.masked_ids, batch.text_mask)
        fused = self.text_encoder.bert.fuse(text, batch.text_mask, image_embeds)
        return self.text_encoder.vocabulary(fused)

    def match(self, batch: Batch, read: Features, negatives: tuple[Tensor, Tensor]) -> Tensor:
        """ITM logits of the pairs, of texts with other images, and of images with other texts."""
        fuse, mask = self.text_encoder.bert.fuse, batch.text_mask
        image, text = negatives
        positive = fuse(read.text_embeds, mask, read.image_embeds)
        negative = fuse(
            torch.cat([read.text_embeds, read.text_embeds[text]]),
            torch.cat([mask, mask[text]]),
            torch.cat([read.image_embeds[image], read.image_embeds]),
        )
        return self.itm_head(torch.cat([positive[:, 0], negative[:, 0]]))


def distilled(logits: Tensor, targets: Tensor, teacher: Tensor, alpha: float) -> Tensor:
    """Cross-entropy with the teacher's soft targets in a share of `alpha` (equations 6 and 7)."""
    soft = alpha * torch.softmax(teacher, -1) + (1 - alpha) * targets
    return -(functional.log_softmax(logits, -1) * soft).sum(-1)


@dataclass
class Pretraining:
    """Student, teacher, queues `[Q, E]` and optimizer."""

    student: Model
    teacher: Model
    queues: dict[str, Tensor]
    optimizer: torch.optim.Optimizer
    momentum: float = 0.995
    alpha: float = 0.4
    pointer: int = 0

    def step(self, batch: Batch) -> Tensor:
        """One update; returns the loss."""
        with torch.no_grad():
            self.student.temp.clamp_(0.001, 0.5)
        losses, theirs = self.losses(batch)
        loss = torch.stack(list(losses.values())).sum()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self._enqueue(theirs)
        return loss.detach()

    def losses(
        self, batch: Batch, negatives: tuple[Tensor, Tensor] | None = None
    ) -> tuple[dict[str, Tensor], Features]:
        """ITC, MLM and ITM, after the teacher's update, and the teacher's features.

        Args:
            negatives: other images and texts `[B]`; by default hard ones are drawn.
        """
        ours = self.student.read(batch)
        with torch.no_grad():
            self._follow()
            theirs = self.teacher.read(batch)
            their_words = self.teacher.words(batch, theirs.image_embeds)
        itc, (to_text, to_image) = self._contrast(ours, theirs)
        if negatives is None:
            negatives = hard(to_image), hard(to_text)
        logits = self.student.match(batch, ours, negatives)
        labels = torch.tensor([1, 0, 0]).repeat_interleave(len(batch.image))
        words = self.student.words(batch, ours.image_embeds)
        used = batch.labels != IGNORED
        hot = functional.one_hot(batch.labels.clamp(min=0), words.shape[-1])
        mlm = distilled(words, hot, their_words, self.alpha)[used].mean()
        itm = functional.cross_entropy(logits, labels)
        return {"loss_itc": itc, "loss_mlm": mlm, "loss_itm": itm}, theirs

    def _follow(self) -> None:
        """Move the teacher towards the student."""
        pairs = zip(self.teacher.parameters(), self.student.parameters(), strict=True)
        for theirs, ours in pairs:
            theirs.mul_(self.momentum).add_(ours, alpha=1 - self.momentum)

    def _contrast(self, ours: Features, theirs: Features) -> tuple[Tensor, list[Tensor]]:
        """The loss, and similarities `[B, B]` of images to texts and of texts to images."""
        total, inside = torch.zeros(()), []
        for way, back in (("image", "text"), ("text", "image")):
            keys = torch.cat([getattr(theirs, back), self.queues[back]]).T
            logits = getattr(ours, way) @ keys / self.student.temp
            with torch.no_grad():
                teacher = getattr(theirs, way) @ keys / self.student.temp
                targets = torch.eye(*logits.shape)
            total = total + distilled(logits, targets, teacher, self.alpha).mean() / 2
            inside.append(logits[:, : len(logits)].detach())
        return total, inside

    @torch.no_grad()
    def _enqueue(self, theirs: Features) -> None:
        size = len(theirs.image)
        for name, queue in self.queues.items():
            queue[self.pointer : self.pointer + size] = getattr(theirs, name)
        self.pointer = (self.pointer + size) % len(self.queues["image"])


def hard(similarities: Tensor) -> Tensor:
    """For each row another than its own, drawn by similarity."""
    weights = torch.softmax(similarities, 1).fill_diagonal_(0)
    return torch.multinomial(weights, 1)[:, 0]


def start(config: ModelConfig, queue: int, rate: float, decay: float) -> Pretraining:
    """Random weights, a teacher equal to the student, and queues of unit vectors."""
    student, teacher = Model(config), Model(config)
    for weight in student.parameters():
        if weight.dim() > 1:
            nn.init.normal_(weight, std=0.02)
    teacher.load_state_dict(student.state_dict())
    teacher.requires_grad_(False)
    queues = {
        name: functional.normalize(torch.randn(queue, config.embed_dim), dim=-1)
        for name in ("image", "text")
    }
    matrices = [weight for weight in student.parameters() if weight.dim() != 1]
    vectors = [weight for weight in student.parameters() if weight.dim() == 1]
    groups = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=rate, weight_decay=decay)
    return Pretraining(student, teacher, queues, optimizer)


def random_batch(config: ModelConfig, batch: int, length: int) -> Batch:
    """Noise for images, random words, of which 15 % are masked."""
    side = config.image_size
    text_ids = torch.randint(104, config.vocab_size, (batch, length))
    masked = torch.rand(text_ids.shape) < 0.15
    masked[:, 1] = True  # one at least
    return Batch(
        torch.randn(batch, 3, side, side),
        text_ids,
        torch.ones_like(text_ids),
        text_ids.masked_fill(masked, 103),
        text_ids.masked_fill(~masked, IGNORED),
    )
