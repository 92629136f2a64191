"""RefCOCO, RefCOCO+ and RefCOCOg: REFER's references beside COCO's instances."""

from typing import Any

from albef_jax.data.releases.fields import Converted, Given, Item, Options, chosen, items, take


def is_refer(content: object) -> bool:
    """`[{"ref_id", "ann_id", "split", "sentences"}]`."""
    if not isinstance(content, list) or not content or not isinstance(content[0], dict):
        return False
    return {"ref_id", "sentences", "split"} <= content[0].keys()


def is_instances(content: object) -> bool:
    """`{"images": [{"id", "file_name"}], "annotations": [{"bbox"}]}`."""
    if not isinstance(content, dict):
        return False
    images, boxes = (content.get(field) for field in ("images", "annotations"))
    if not isinstance(images, list) or not isinstance(boxes, list) or not boxes:
        return False
    return isinstance(boxes[0], dict) and "bbox" in boxes[0]


def refer(files: list[Given], options: Options) -> Converted:
    """One item an expression; `ref_id` leads an evaluation to the box in REFER's own files."""
    names: dict[int, str] = {}
    for given in files:
        if is_instances(given.content):
            for place, image in items(given, "images"):
                names[take(place, image, "id", int)] = take(place, image, "file_name", str)
    references = [given for given in files if is_refer(given.content)]
    if not references or not names:
        raise ValueError("expressions need both of REFER's files: refs(unc).p and instances.json")
    rows: list[Item] = []
    for given in references:
        found = (one for place, told in items(given) for one in _expressions(place, told, names))
        by_split = chosen(found, given, options)
        if len(by_split) > 1 and not options.splits:
            raise ValueError(
                f"{given.file}: has several splits: {', '.join(by_split)}; choose with --split, as "
                "--split=train or --split=val,testA,testB"
            )
        rows += [item for part in by_split.values() for item in part]
    for row in rows:
        row["image"] = options.images + row["image"]
    return Converted(rows)


def _expressions(place: str, told: Item, names: dict[int, str]) -> Any:
    number = take(place, told, "image_id", int)
    if number not in names:
        raise ValueError(f"{place}: image {number} is not in instances.json; do they go together?")
    for sentence in take(place, told, "sentences", list):
        text = take(place, sentence, "sent", str)
        ref_id = take(place, told, "ref_id", int)
        item = {"image": names[number], "text": text, "ref_id": ref_id}
        yield take(place, told, "split", str), item
