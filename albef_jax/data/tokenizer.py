"""Converts captions and questions to token ids: cleaning, then WordPiece, as officially.

Note (LEDGER, Tokenizer): a text becomes `[CLS] pieces` with no `[SEP]` at its end;
a literal "[SEP]" inside a text is the special token, "[sep]" is three ordinary pieces.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

from albef_jax.storage.paths import AnyPath, BucketPath, path_of

VOCAB_DIR = Path(__file__).parent / "vocab"
SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

_PUNCTUATION = str.maketrans(dict.fromkeys("-/", " ") | dict.fromkeys(",.'!?\"()*#:;~"))
_MOST_CASED = 0.01  # of the pieces of an uncased vocabulary; BERT's has none
_NORMALIZER = normalizers.BertNormalizer(lowercase=True)
_SPLIT = pre_tokenizers.BertPreTokenizer()
_SPACE_RUN = re.compile(r"\s\s+")


def clean_caption(text: str, max_words: int) -> str:
    """Lower-case, drop punctuation, collapse runs of white space, keep `max_words` words."""
    text = text.lower().translate(_PUNCTUATION).replace("<person>", "person")
    text = _SPACE_RUN.sub(" ", text).rstrip("\n").strip(" ")
    return " ".join(text.split(" ")[:max_words])


def clean_question(text: str, max_words: int) -> str:
    """The lighter cleaning of VQA questions: inner and leading spaces stay, and count as words."""
    text = text.lower().translate(_PUNCTUATION).rstrip(" ")
    return " ".join(text.split(" ")[:max_words])


def vocab_file(vocab: str | AnyPath) -> AnyPath:
    """The file of a vocabulary given by built-in name, by path, or by address in a bucket.

    Raises:
        ValueError: neither; the message lists the built-in names.
    """
    built_in = {path.stem: path for path in sorted(VOCAB_DIR.glob("*.txt"))}
    path = built_in.get(str(vocab)) or path_of(vocab)
    if not path.is_file():
        raise ValueError(
            f"no vocabulary {str(vocab)!r}: give one of {', '.join(built_in)}, "
            "or the path of a WordPiece vocabulary, one piece a line"
        )
    return path


def vocab_path(vocab: str | AnyPath) -> Path:
    """The result of `vocab_file`, or a copy of it on this machine."""
    found = vocab_file(vocab)
    return found.here() if isinstance(found, BucketPath) else found


def _read_vocab(path: Path) -> dict[str, int]:
    try:
        # Editors on Windows put a byte order mark before the first piece.
        pieces = path.read_text(encoding="utf-8-sig").removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from None
    ids = {piece: number for number, piece in enumerate(pieces)}
    if missing := [special for special in SPECIALS if special not in ids]:
        raise ValueError(
            f"{path}: not a BERT vocabulary, it lacks {' '.join(missing)}; "
            "it must hold one piece a line, the special tokens among them"
        )
    if len(ids) < len(pieces):
        twice = next(piece for number, piece in enumerate(pieces) if ids[piece] != number)
        raise ValueError(f"{path}: the piece {twice!r} occurs twice; remove one line")
    _check_case(path, pieces)
    return ids


def _check_case(path: Path, pieces: Sequence[str]) -> None:
    """Refuse a cased vocabulary, which lacks most words of lower-cased texts."""
    cased = [piece for piece in pieces if piece != piece.lower() and not piece.startswith("[")]
    if len(cased) > _MOST_CASED * len(pieces):
        raise ValueError(
            f"{path}: a cased vocabulary: {len(cased)} of {len(pieces)} pieces, as {cased[0]!r}, "
            "have capitals, and texts are lower-cased; take the uncased one of that model"
        )


def _build(ids: dict[str, int]) -> Backend:
    backend = Backend(models.WordPiece(vocab=ids, unk_token="[UNK]", max_input_chars_per_word=100))
    backend.normalizer = _NORMALIZER
    backend.pre_tokenizer = _SPLIT
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A", special_tokens=[("[CLS]", ids["[CLS]"])]
    )
    backend.decoder = decoders.WordPiece(prefix="##")
    backend.add_special_tokens(list(SPECIALS))
    return backend


class Tokenizer:
    """WordPiece with a fixed text length.

    Args:
        vocab: 'bert-base-uncased', 'scenes', or the path of a vocabulary.
        text_len: T, the width that texts are cut and padded to, `[CLS]` included.

    Raises:
        ValueError: unknown name or path, or a file that is not a BERT vocabulary.
    """

    def __init__(self, vocab: str | Path, text_len: int):
        ids = _read_vocab(vocab_path(vocab))
        self.text_len = text_len
        self.vocab_size = len(ids)
        self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id = map(
            ids.__getitem__, SPECIALS
        )
        self._backend = _build(ids)

    def encode(
        self, texts: Sequence[str], *, fixed_width: bool = True, truncate: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """Token ids and mask of a batch of texts, already cleaned.

        Args:
            texts: B texts.
            fixed_width: pad to `text_len`; else to the longest text of the batch.
            truncate: cut at `text_len`. Retrieval, for one, trains on uncut texts (LEDGER).

        Returns:
            text_ids int32 `[B, T]`, text_mask int32 `[B, T]` (1 on tokens, 0 on padding).
        """
        if fixed_width and not truncate:
            raise ValueError("a fixed width needs truncate=True: a longer text would not fit")
        encoded = [self._ids(text) for text in texts]
        if truncate:
            encoded = [ids[: self.text_len] for ids in encoded]
        width = self.text_len if fixed_width else max(map(len, encoded), default=0)
        text_ids = np.full((len(encoded), width), self.pad_id, np.int32)
        text_mask = np.zeros_like(text_ids)
        for row, ids in enumerate(encoded):
            text_ids[row, : len(ids)] = ids
            text_mask[row, : len(ids)] = 1
        return text_ids, text_mask

    def length(self, text: str) -> int:
        """Tokens of a cleaned text after cutting, `[CLS]` included."""
        return min(len(self._ids(text)), self.text_len)

    def _ids(self, text: str) -> list[int]:
        return self._backend.encode(well_formed(text)).ids

    def pieces(self, ids: Sequence[int] | np.ndarray) -> list[str]:
        """The WordPiece of each id, special tokens included."""
        return [self._backend.id_to_token(int(number)) for number in ids]

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """The text that ids stand for, without special tokens."""
        return self._backend.decode([int(number) for number in ids])


def split_words(text: str) -> list[str]:
    """Words and punctuation marks of a text, lower-cased, as they are before WordPiece."""
    normal = _NORMALIZER.normalize_str(well_formed(text))
    return [word for word, _ in _SPLIT.pre_tokenize_str(normal)]


def well_formed(text: str) -> str:
    """The text without halves of surrogate pairs, which JSON may hold and UTF-8 may not."""
    # They become U+FFFD, which the tokenizer's normaliser drops.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
