"""SNLI-VE and NLVR2, one JSON object a line."""

from albef_jax.data.releases.fields import Converted, Given, Item, Options, items, take

_FLICKR = ("Flickr30K_ID", "Flikr30kID", "Flickr30kID")  # as the versions of SNLI-VE spell it


def is_snli_ve(content: object) -> bool:
    """Lines with "Flickr30K_ID", "sentence2" and "gold_label"."""
    return _first_has(content, "sentence2", "gold_label") and any(
        _first_has(content, key) for key in _FLICKR
    )


def snli_ve(files: list[Given], options: Options) -> Converted:
    """The hypothesis over the image; lines on which annotators did not agree are left out."""
    rows: list[Item] = []
    undecided = 0
    for given in files:
        for place, told in items(given):
            label = take(place, told, "gold_label", str)
            if label == "-":
                undecided += 1
                continue
            key = next((key for key in _FLICKR if key in told), _FLICKR[0])
            name = take(place, told, key, str).removesuffix(".jpg")
            sentence = take(place, told, "sentence2", str)
            image = f"{options.images}{name}.jpg"
            rows.append({"image": image, "sentence": sentence, "label": label})
    return Converted(rows, (f"{undecided} lines have no gold label",) if undecided else ())


def is_nlvr2(content: object) -> bool:
    """Lines with "identifier", "sentence" and "label"."""
    return _first_has(content, "identifier", "sentence", "label")


def nlvr2(files: list[Given], options: Options) -> Converted:
    """The statement over both images, named as NLVR2 unpacks: `dev/dev-0-1-img0.png`."""
    rows: list[Item] = []
    for given in files:
        for place, told in items(given):
            identifier = take(place, told, "identifier", str)
            stem, dash, _ = identifier.rpartition("-")
            if not dash:
                raise ValueError(f"{place}: 'identifier' {identifier!r} is none of NLVR2's")
            split = identifier.partition("-")[0]
            folder = f"images/train/{told['directory']}" if "directory" in told else split
            images = [f"{options.images}{folder}/{stem}-img{side}.png" for side in (0, 1)]
            sentence = take(place, told, "sentence", str)
            label = told.get("label")
            if str(label) not in ("True", "False"):
                raise ValueError(f"{place}: 'label' must be True or False, not {label!r}")
            rows.append({"images": images, "sentence": sentence, "label": str(label)})
    return Converted(rows)


def _first_has(content: object, *fields: str) -> bool:
    if not isinstance(content, list) or not content or not isinstance(content[0], dict):
        return False
    return all(field in content[0] for field in fields)
