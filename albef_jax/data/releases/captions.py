"""COCO's captions, and the splits of Karpathy and Fei-Fei for COCO and Flickr30K."""

from albef_jax.data.releases.fields import Converted, Given, Item, Options, chosen, items, take


def is_coco(content: object) -> bool:
    """`{"images": [{"id", "file_name"}], "annotations": [{"image_id", "caption"}]}`."""
    return _lists(content, images="file_name", annotations="caption")


def coco(files: list[Given], options: Options) -> Converted:
    """One item an image, with all its captions, in the order of the images."""
    rows: list[Item] = []
    wordless = 0
    for given in files:
        captions: dict[int, list[str]] = {}
        for place, told in items(given, "annotations"):
            caption = take(place, told, "caption", str)
            captions.setdefault(take(place, told, "image_id", int), []).append(caption)
        for place, image in items(given, "images"):
            number = take(place, image, "id", int)
            name = take(place, image, "file_name", str)
            if texts := captions.pop(number, None):
                rows.append({"image": options.images + name, "caption": texts, "image_id": number})
            else:
                wordless += 1
        if captions:
            raise ValueError(
                f"{given.file}: {len(captions)} images have captions and are not in 'images', as "
                f"{next(iter(captions))}"
            )
    return Converted(rows, (f"{wordless} images have no caption",) if wordless else ())


def is_karpathy(content: object) -> bool:
    """`{"images": [{"filename", "split", "sentences": [{"raw"}]}]}`."""
    return _lists(content, images="sentences")


def karpathy(files: list[Given], options: Options) -> Converted:
    """One item an image, with all its captions; `train` is often meant with `restval`."""
    rows: list[Item] = []
    for given in files:
        by_split = chosen(
            (_karpathy(place, one, options) for place, one in items(given, "images")),
            given,
            options,
        )
        if len(by_split) > 1 and not options.splits:
            counts = ", ".join(f"{split} ({len(part)})" for split, part in by_split.items())
            raise ValueError(
                f"{given.file}: has several splits: {counts}; choose with --split, as "
                "--split=train,restval"
            )
        rows += [item for part in by_split.values() for item in part]
    return Converted(rows)


def _karpathy(place: str, image: Item, options: Options) -> tuple[str, Item]:
    name = take(place, image, "filename", str)
    if folder := image.get("filepath"):
        name = f"{folder}/{name}"
    sentences = take(place, image, "sentences", list)
    captions = [take(place, sentence, "raw", str) for sentence in sentences]
    item: Item = {"image": options.images + name, "caption": captions}
    for key in ("cocoid", "imgid"):
        if type(image.get(key)) is int:
            item["image_id"] = image[key]
            break
    return take(place, image, "split", str), item


def _lists(content: object, **fields: str) -> bool:
    """Whether an object has these lists, whose first items have these fields."""
    if not isinstance(content, dict):
        return False
    lists = {name: content.get(name) for name in fields}
    return all(
        isinstance(found, list)
        and found
        and isinstance(found[0], dict)
        and fields[name] in found[0]
        for name, found in lists.items()
    )
