"""Answers: generation that keeps keys and values, ranking in chunks, training side by side; each
against the plain way.

The plain way to generate reads each answer from its beginning for every token; the plain way to
rank holds the logits of all candidates at once; the plain way to train has ten rows of the decoder
for each question. Both ways get the same questions, and ratios are of times measured in one run.

Examples:
    python -m benchmarks.answering
    python -m benchmarks.answering --preset=base --questions=8 --answers=512 --rank=128
    python -m benchmarks.answering --preset=base --train=32 --rounds=0  # operations alone
"""

import argparse
import json
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from albef_jax.inference import answer_decoding
from albef_jax.inference.answer_decoding import Generated, generate, rank
from albef_jax.models.albef import Params
from albef_jax.models.config import PRESETS, ModelConfig, preset
from albef_jax.models.decoder import decode, init_decoder
from benchmarks import answer_training
from benchmarks.answer_training import MANY, Data, annotators
from benchmarks.by_turns import by_turns, compiled

START, END = 101, 102  # [CLS] and [SEP] of BERT's vocabulary


def generate_plainly(
    config: ModelConfig,
    params: Params,
    states: jax.Array,
    question_mask: jax.Array,
    *,
    start: int,
    end: int,
    length: int,
    beams: int,
) -> Generated:
    """As `answer_decoding.generate`, reading whole answers."""
    batch = len(states)
    ids = jnp.full((batch, beams, length), end).at[:, :, 0].set(start)
    scores = jnp.where(jnp.arange(beams) == 0, 0.0, -jnp.inf) + jnp.zeros((batch, 1))
    done = jnp.zeros((batch, beams), bool)

    def extend(position, carry):
        ids, scores, done = carry
        mask = jnp.broadcast_to(jnp.arange(length) < position, ids.shape).astype(jnp.int32)
        logits = decode(config, params, ids, mask, states, question_mask)
        logits = jax.lax.dynamic_index_in_dim(logits, position - 1, axis=2, keepdims=False)
        stay = jnp.where(jnp.arange(logits.shape[-1]) == end, 0.0, -jnp.inf)
        steps = jnp.where(done[..., None], stay, jax.nn.log_softmax(logits))
        total = (scores[..., None] + steps).reshape(batch, -1)
        scores, flat = jax.lax.top_k(total, beams)
        beam, token = flat // logits.shape[-1], flat % logits.shape[-1]
        ids = jnp.take_along_axis(ids, beam[..., None], axis=1).at[:, :, position].set(token)
        return ids, scores, token == end

    ids, scores, _ = jax.lax.fori_loop(1, length, extend, (ids, scores, done))
    return Generated(ids[:, 0], scores[:, 0])


def compare(plain: Callable, fast: Callable, inputs: tuple, rounds: int) -> dict[str, Any]:
    """Both ways by turns: the fastest of the rounds of each, memory, and what both gave."""
    programs = {name: compiled(way, *inputs) for name, way in (("plain", plain), ("fast", fast))}
    ready = {name: partial(program, *inputs) for name, (program, _) in programs.items()}
    seconds, found = by_turns(ready, rounds)
    equal = np.asarray(found["plain"][0] == found["fast"][0]).reshape(len(found["plain"][0]), -1)
    return {
        "plain_s": round(seconds["plain"], 4),
        "fast_s": round(seconds["fast"], 4),
        "speedup": round(seconds["plain"] / seconds["fast"], 2),
        "plain_gib": round(programs["plain"][1], 3),
        "fast_gib": round(programs["fast"][1], 3),
        "equal_answers": float(equal.all(axis=1).mean()),
    }


def rank_at_once(config: ModelConfig, k: int, *inputs: Any) -> answer_decoding.Ranked:
    """As `answer_decoding.rank`, in one chunk."""
    kept, answer_decoding.CHUNK = answer_decoding.CHUNK, k
    try:
        return rank(config, *inputs, k=k)
    finally:
        answer_decoding.CHUNK = kept


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.answering",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--preset", default="small", choices=sorted(PRESETS))
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--questions", type=int, default=16, help="in a batch")
    parser.add_argument("--question_len", type=int, default=25, help="tokens")
    parser.add_argument("--length", type=int, default=11, help="of answers, [CLS] included")
    parser.add_argument("--beams", type=int, default=3)
    parser.add_argument("--answers", type=int, default=256, help="in the list; 0: no ranking")
    parser.add_argument("--rank", type=int, default=128, help="candidates a question")
    parser.add_argument("--train", type=int, default=32, help="questions of a step; 0: none")
    parser.add_argument("--image_size", type=int, help="pixels, in training; default: the preset's")
    parser.add_argument(
        "--different", type=float, default=2.7, help="answers of ten annotators, on average"
    )
    parser.add_argument("--rounds", type=int, default=3, help="0 only counts training operations")
    return parser.parse_args(given)


def reading(chosen: argparse.Namespace) -> dict[str, Any]:
    """Generation and ranking."""
    config = preset(chosen.preset, dtype=chosen.dtype)
    rng = np.random.default_rng(0)
    decoder = jax.jit(partial(init_decoder, config))(jax.random.key(0))
    # Larger heads, or all tokens would be equally likely and rounding would decide.
    decoder["head"] = jax.tree.map(lambda leaf: 20 * leaf, decoder["head"])
    params = {"answer_decoder": decoder}
    shape = (chosen.questions, chosen.question_len)
    states = jnp.asarray(rng.standard_normal((*shape, config.text_width)), config.dtype)
    mask = jnp.ones(shape, jnp.int32)
    options = {"start": START, "end": END, "length": chosen.length, "beams": chosen.beams}
    inputs: tuple = (params, states, mask)
    result = {
        "generate": compare(
            partial(generate_plainly, config, **options),
            partial(generate, config, **options),
            inputs,
            chosen.rounds,
        )
    }
    if chosen.answers:
        size = (chosen.answers, chosen.length)
        ids = rng.integers(1000, config.vocab_size, size, np.int32)
        ids[:, 0], ids[:, -1] = START, END
        inputs = (*inputs, jnp.asarray(ids), jnp.ones(size, jnp.int32))
        k = min(chosen.rank, chosen.answers)
        result["rank"] = compare(
            partial(rank_at_once, config, k), partial(rank, config, k=k), inputs, chosen.rounds
        )
    return result


def training(chosen: argparse.Namespace) -> dict[str, Any]:
    """A step on questions with answers of ten annotators, and on those of the built-in world."""
    size = {"image_size": chosen.image_size} if chosen.image_size else {}
    model = preset(chosen.preset, dtype=chosen.dtype, **size)
    shape = chosen.question_len, chosen.length
    rng = np.random.default_rng(0)
    kinds = {
        "annotators": Data(annotators(chosen.different, MANY, rng)),
        "built_in": Data(np.ones(MANY, int)),
    }
    return {
        name: answer_training.compare(model, data, chosen.train, shape, chosen.rounds)
        for name, data in kinds.items()
    }


def main(given: list[str] | None = None) -> None:
    """Measure and print one JSON line."""
    chosen = arguments(given)
    result = reading(chosen) if chosen.rounds else {}
    if chosen.train:
        result["train"] = training(chosen)
    device = jax.devices()[0].device_kind
    print(json.dumps({"device": device, "jax": jax.__version__, **vars(chosen), **result}))


if __name__ == "__main__":
    main()
