"""Question answering: the likelihood of weighted answers, with momentum distillation.

Shape letters: B questions, R answers a question, T answer tokens, S question tokens, V vocabulary,
D text width; Q = G * C rows of a pass, of P passes, as in `answer_rows`.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from albef_jax.losses.answer_rows import pack, rows_of_answers, sum_over_passes
from albef_jax.losses.base import Batch, Loss, LossInputs, LossOutput
from albef_jax.losses.distillation import mixed_cross_entropy
from albef_jax.models.albef import Params, fuse_pairs, split_key
from albef_jax.models.config import ModelConfig
from albef_jax.models.decoder import decode

ANSWERS = ("answer_ids", "answer_mask", "answer_weight")


def answer_losses(
    logits: Float[Array, "B R T V"],
    answer_ids: Int[Array, "B R T"],
    answer_mask: Int[Array, "B R T"],
    teacher_logits: Float[Array, "B R T V"] | None,
    alpha: Float[Array, ""] | float,
) -> Float[Array, "B R"]:
    """Sum over an answer's tokens of the cross-entropy of the next one; padding does not count."""
    logits, labels, counts = logits[..., :-1, :], answer_ids[..., 1:], answer_mask[..., 1:]
    hard = jnp.take_along_axis(logits, labels[..., None], axis=-1)[..., 0]
    if teacher_logits is None:
        losses = jax.nn.logsumexp(logits, axis=-1) - hard
    else:
        losses = mixed_cross_entropy([logits], hard, [teacher_logits[..., :-1, :]], alpha)
    return jnp.sum(losses * counts, axis=-1)


def weighted_loss(losses: Float[Array, "B R"], weights: Float[Array, "B R"]) -> Float[Array, ""]:
    """Each answer by its weight, over the number of questions; weight 0 is padding."""
    return jnp.sum(losses * weights) / len(weights)


class DecoderInputs(NamedTuple):
    """What a decoder reads besides answers: its parameters and the questions' fused tokens."""

    decoder: Params
    states: Float[Array, "B S D"]


class Given(NamedTuple):
    """Inputs of the decoder's passes that have no gradient.

    Attributes:
        batch: the answers, and the questions' mask.
        dropout_keys: of the decoders of student and teacher.
        places: of `answer_rows.pack`; None for the plain way.
    """

    batch: Batch
    teacher: DecoderInputs | None
    alpha: Float[Array, ""] | float
    dropout_keys: tuple[Array | None, Array | None]
    places: Int[Array, "P G C"] | None = None


@dataclass(frozen=True)
class VqaLoss(Loss):
    """The likelihood of answers on a batch of `image`, `text_*` and `answer_*`.

    Attributes:
        rows: of the decoder in a pass, for the questions of a contrast group: their answers side by
            side (`answer_rows`). None for a row for each answer that a question may have: the plain
            way, which takes longer if most questions have fewer.
        contrast_group: questions that share the rows of a pass, or that a device takes at a time.
    """

    model: ModelConfig
    rows: int | None = None
    contrast_group: int = 1

    def __call__(self, params: Params, inputs: LossInputs) -> LossOutput:
        """With distillation where there is a teacher."""
        batch, random = inputs.batch, inputs.random
        student, key = self._read_questions(params, batch, random.student_dropout)
        teacher, teacher_key = None, None
        if inputs.teacher:
            teacher, teacher_key = self._read_questions(
                inputs.teacher, batch, random.teacher_dropout
            )
        read = {name: batch[name] for name in ("text_mask", *ANSWERS)}
        given = Given(read, teacher, inputs.alpha, (key, teacher_key))
        return self._plain(student, given) if self.rows is None else self._packed(student, given)

    def _read_questions(
        self, params: Params, batch: Batch, dropout_key: Array | None
    ) -> tuple[DecoderInputs, Array | None]:
        """What the decoder reads besides answers, and the key of its dropout."""
        encoder_key, decoder_key = split_key(dropout_key)
        question = batch["text_ids"], batch["text_mask"]
        states = fuse_pairs(self.model, params, batch["image"], *question, encoder_key)
        return DecoderInputs({"answer_decoder": params["answer_decoder"]}, states), decoder_key

    def _plain(self, student: DecoderInputs, given: Given) -> LossOutput:
        """A row of the decoder for each answer that a question may have."""
        batch = given.batch
        losses, logits, teacher = self._judge(
            student, given, batch["answer_ids"], batch["answer_mask"]
        )
        metrics = {"loss": weighted_loss(losses, batch["answer_weight"])}
        aux = {"states": student.states, "logits": logits, "teacher": teacher, "losses": losses}
        return LossOutput(metrics, aux=aux)

    def _packed(self, student: DecoderInputs, given: Given) -> LossOutput:
        """A row for each answer that there is, and some to spare."""
        assert self.rows is not None
        weights = given.batch["answer_weight"]
        packed = pack(weights, self.contrast_group, self.rows)
        given = given._replace(places=packed.place)
        total = self._pass(jnp.int32(0), student, given)
        if len(packed.place) > 1:
            total += sum_over_passes(self._pass, packed.passes, student, given)
        return LossOutput({"loss": total / len(weights)})

    def _pass(
        self, number: Int[Array, ""], student: DecoderInputs, given: Given
    ) -> Float[Array, ""]:
        """The weighted losses of a pass, summed."""
        assert given.places is not None
        rows = rows_of_answers(given.batch, given.places[number])
        key, teacher_key = given.dropout_keys

        def own(key: Array | None) -> Array | None:
            return None if key is None else jax.random.fold_in(key, number)

        given = given._replace(dropout_keys=(own(key), own(teacher_key)))
        losses, *_ = self._judge(student, given, rows.ids, rows.mask, rows.question_of)
        return jnp.sum(losses * rows.weights)

    def _judge(
        self,
        student: DecoderInputs,
        given: Given,
        ids: Int[Array, "Q R T"],
        mask: Int[Array, "Q R T"],
        question_of: Int[Array, "G C"] | None = None,
    ) -> tuple[Float[Array, "Q R"], Float[Array, "Q R T V"], Float[Array, "Q R T V"] | None]:
        """Losses of answers, the student's logits and the teacher's; arguments of `decode`."""

        def logits(asked: DecoderInputs, key: Array | None) -> Array:
            question = asked.states, given.batch["text_mask"]
            return decode(
                self.model, asked.decoder, ids, mask, *question, key, question_of=question_of
            )

        key, teacher_key = given.dropout_keys
        ours = logits(student, key)
        theirs = None if given.teacher is None else logits(given.teacher, teacher_key)
        return answer_losses(ours, ids, mask, theirs, given.alpha), ours, theirs
