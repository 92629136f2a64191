"""The known formats, recognised by content; and the command that converts them."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from albef_jax.data.releases import captions, questions, referring, sentences
from albef_jax.data.releases.fields import Converted, Given, Options

COMMAND = "python -m tools.convert_annotations"


class Format(NamedTuple):
    """An official format.

    Attributes:
        name: in words.
        task: whose configuration reads the converted list.
        matches: whether the content of a file is of this format.
        convert: files of it to our items.
        needs: further arguments of the command line, as an example.
        captions: files of questions to image-caption pairs, where that is possible.
    """

    name: str
    task: str
    matches: Callable[[object], bool]
    convert: Callable[[list[Given], Options], Converted]
    needs: str = ""
    captions: Callable[[list[Given], Options], Converted] | None = None


REFER = Format(
    "REFER's references",
    "grounding",
    referring.is_refer,
    referring.refer,
    "instances.json --split=train",
)
PICKLES = (".p", ".pkl", ".pickle")  # endings of REFER's references
FORMATS = (
    Format("COCO's captions", "pretrain or retrieval", captions.is_coco, captions.coco),
    Format(
        "Karpathy's splits",
        "pretrain or retrieval",
        captions.is_karpathy,
        captions.karpathy,
        "--split=test",
    ),
    Format("VQA's questions or annotations", "vqa", questions.is_vqa, questions.vqa, "ANNOTATIONS"),
    Format("VizWiz", "vqa", questions.is_vizwiz, questions.vizwiz),
    Format(
        "easy-VQA",
        "vqa",
        questions.is_easy_vqa,
        questions.easy_vqa,
        "--images=train/",
        questions.easy_vqa_captions,
    ),
    Format("SNLI-VE", "entailment", sentences.is_snli_ve, sentences.snli_ve),
    Format("NLVR2", "nlvr", sentences.is_nlvr2, sentences.nlvr2),
    REFER,
    Format(
        "COCO's instances",
        "grounding",
        referring.is_instances,
        referring.refer,
        "'refs(unc).p' --split=train",
    ),
)


def recognised(content: object) -> Format | None:
    """The format of a file's content; None for ours, or for an unknown one."""
    return next((one for one in FORMATS if one.matches(content)), None)


def remedy(file: object, found: Format) -> str:
    """The remedy for a file of a public format."""
    needs = f" {found.needs}" if found.needs else ""
    return f"convert it: {COMMAND} {file}{needs} OUT.json"


def convert(files: Sequence[Given], options: Options) -> tuple[Format, Converted]:
    """Our items from files that belong together, and the files' format.

    Raises:
        ValueError: an unknown format, several formats, a missing file or field, or captions of a
            format that has none.
    """
    kinds: list[Format] = []
    for given in files:
        if (kind := recognised(given.content)) is None:
            names = ", ".join(one.name for one in FORMATS)
            raise ValueError(f"{given.file}: of none of the formats known here: {names}")
        kinds.append(kind)
    if len({kind.convert for kind in kinds}) > 1:
        raise ValueError(
            f"{files[0].file} is {kinds[0].name}, and others are not; convert them one by one"
        )
    found = kinds[0]
    if not options.captions:
        return found, found.convert(list(files), options)
    if found.captions is None:
        raise ValueError(f"{files[0].file}: captions are not made of {found.name}")
    return found._replace(task="pretrain"), found.captions(list(files), options)
