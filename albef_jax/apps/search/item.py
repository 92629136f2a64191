"""The items of an index or of features: what they are known by."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Item:
    """One image or caption.

    Attributes:
        name: the path below the items' root, or the caption.
        size: of the file in bytes, or of the tar shard that holds it; 0 for a caption of a list, -1
            for a missing file.
        changed: modification time of the file in ns; 0 for a caption of a list.
    """

    name: str
    size: int = 0
    changed: int = 0


@dataclass(frozen=True)
class Items:
    """All items of an index.

    Attributes:
        kind: "image" or "text".
        source: the folder, file or files that name them.
        root: where names start from; empty for captions of a list, whose names they are.
        items: each once, in order.
        note: the items that were left out, with the reason; may be empty.
        caption_field: of the .json in tar shards, which holds the captions; empty for their .txt.
    """

    kind: str
    source: str
    root: str
    items: tuple[Item, ...]
    note: str = ""
    caption_field: str = ""
