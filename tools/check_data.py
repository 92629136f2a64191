"""Reads a data set as training would, and reports every problem.

It takes the options of training. Problems are unusable items, texts without a word after cleaning,
tiny images, the same image under several names, and files in tar shards that belong to no sample.
Images that are not RGB are noted; training converts them. It also reports the lengths of texts and
a data.text_len that would hold them. Exit code: 0 without problems, 1 with problems, 2 if the data
cannot be opened.

Examples:
    python -m tools.check_data --config configs/pretrain.py:laptop \
        --config.data.train_files=a.json --config.data.image_root=images
    python -m tools.check_data --config configs/vqa.py:local --eval --report=problems.json \
        --config.data.eval_files=vqa_val.json
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from albef_jax.data.build import (
    Part,
    open_eval_pairs,
    open_questions,
    open_referring,
    open_sentences,
    open_train_pairs,
    open_two_images,
)
from albef_jax.data.prepare.checking import NOT_RGB, PROBLEMS, Findings, check
from albef_jax.data.prepare.lengths import Lengths, as_json, longer_than, percentile
from albef_jax.data.tokenizer import Tokenizer, clean_caption, clean_question
from albef_jax.system.atomic import write_text
from albef_jax.system.output_paths import check_file
from tools.run_config import parser, start

_HOLD = 0.99  # share of the texts that the suggested data.text_len holds whole
_SHOWN = 20


def open_data(config: ConfigDict, part: Part) -> Any:
    """The records of the configuration's task."""
    others = {
        "vqa": open_questions,
        "entailment": open_sentences,
        "nlvr": open_two_images,
        "grounding": open_referring,
    }
    if config.task in others:
        return others[config.task](config, part)[0]
    return open_train_pairs(config) if part == "train" else open_eval_pairs(config)[0]


def text_lengths(findings: Findings, config: ConfigDict) -> dict[str, Any]:
    """The lengths of texts, compared with the configuration's limits."""
    lengths, tokens = findings.lengths, findings.lengths.tokens
    total = sum(length * count for length, count in tokens.items())
    return {
        "texts": tokens.total(),
        "longest": max(tokens, default=0),
        "median": percentile(tokens, 0.5),
        "text_len": config.data.text_len,
        "cut_by_text_len": longer_than(tokens, config.data.text_len),
        "suggested_text_len": max(2, percentile(tokens, _HOLD)),
        "max_words": config.data.max_words,
        "cut_by_max_words": longer_than(lengths.words, config.data.max_words),
        "unknown_tokens": lengths.unknown / max(1, total),
        "words": as_json(lengths.words),
        "tokens": as_json(tokens),
    }


def report(findings: Findings, config: ConfigDict, items: int) -> dict[str, Any]:
    """Everything, for `--report`."""
    return {
        "items": items,
        "checked": findings.checked,
        "counts": {kind: findings.counts()[kind] for kind in (*PROBLEMS, NOT_RGB)},
        "texts": text_lengths(findings, config),
        "found": [one._asdict() for one in findings.found],
    }


def summary(told: dict[str, Any]) -> str:
    """The report as a table and two lines on texts."""
    texts, counts = told["texts"], told["counts"]
    rows = [("items", told["items"]), ("checked", told["checked"]), *counts.items()]
    lines = [f"{name:<16}{number:>12,}" for name, number in rows]
    lines.append(
        f"{texts['texts']} texts: half have at most {texts['median']} tokens, the longest has "
        f"{texts['longest']}; {texts['unknown_tokens']:.2%} of the tokens are unknown words"
    )
    lines.append(
        f"data.text_len={texts['text_len']} cuts {texts['cut_by_text_len']:.2%} of them (and "
        f"data.max_words={texts['max_words']} cut {texts['cut_by_max_words']:.2%} before); "
        f"data.text_len={texts['suggested_text_len']} would hold {_HOLD:.0%}"
    )
    return "\n".join(lines)


def run(given: argparse.Namespace, config: ConfigDict) -> int:
    """Check, print, and return the exit code."""
    if given.report:
        check_file(given.report, "--report")
    if given.limit < 0:
        raise ValueError(f"--limit={given.limit}: must not be negative; 0 for all")
    source = open_data(config, "eval" if given.eval else "train")
    for note in getattr(source, "notes", ()):
        print(f"note: {note}", file=sys.stderr)
    if dropped := getattr(source, "dropped_empty_captions", 0):
        print(f"note: {dropped} empty captions are left out", file=sys.stderr)
    count = min(given.limit or len(source), len(source))
    indices = np.linspace(0, len(source) - 1, count).round().astype(int).tolist()
    clean = clean_question if config.task == "vqa" else clean_caption
    lengths = Lengths(Tokenizer(config.data.vocab, 2), clean, config.data.max_words)
    with tqdm(total=count, unit="item", disable=not sys.stderr.isatty()) as bar:
        findings = check(
            source,
            lengths,
            smallest=given.smallest,
            threads=max(1, given.threads),
            indices=indices,
            looked_at_one=bar.update,
        )
    told = report(findings, config, len(source))
    problems = [one for one in findings.found if one.kind in PROBLEMS]
    for one in problems[:_SHOWN]:
        print(f"{one.kind}: {one.name}: {one.detail}")
    if more := problems[_SHOWN:]:
        print(f"... and {len(more)} more; --report=FILE names them all")
    print(summary(told))
    if given.report:
        write_text(given.report, json.dumps(told, indent=2) + "\n")
    return 1 if problems else 0


def main() -> int:
    """From the command line."""
    options = parser("check_data", __doc__)
    add = options.add_argument
    add("--limit", type=int, default=0, help="check so many items, spread evenly; 0 for all")
    what = "an image with a shorter side, in pixels, is tiny; 32 by default"
    add("--smallest", type=int, default=32, help=what)
    add("--report", type=Path, help="write everything found to this file, as JSON")
    what = "that read and decode; one a core by default"
    add("--threads", type=int, default=os.cpu_count() or 1, help=what)
    return start(run, options)


if __name__ == "__main__":
    sys.exit(main())
