"""`.pth` files written by hand, of both forms, with the operations of PyTorch's own files."""

import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np

TINY = Path(__file__).parents[1] / "golden" / "tiny"
FORMS = ["zip", "stream"]
NUMBERS = np.arange(12, dtype="<f4")


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value):
    return b"\x8a\x09" + value.to_bytes(9, "little", signed=True)


def tuple_of(*items):
    return b"(" + b"".join(items) + b"t"


def named(module, name):
    return f"c{module}\n{name}\n".encode()


def mapping(**entries):
    return b"}(" + b"".join(text(key) + value for key, value in entries.items()) + b"u"


def storage(kind="FloatStorage", key="0", numel=12):
    return (
        tuple_of(text("storage"), named("torch", kind), text(key), text("cpu"), number(numel))
        + b"Q"
    )


def tensor(size=(3, 4), stride=(4, 1), offset=0, source=None):
    axes = [tuple_of(*map(number, numbers)) for numbers in (size, stride)]
    hooks = named("collections", "OrderedDict") + b")R"
    arguments = tuple_of(source or storage(), number(offset), *axes, b"\x89", hooks)
    return named("torch._utils", "_rebuild_tensor_v2") + arguments + b"R"


def finished(body):
    return b"\x80\x02" + body + b"."


def write_zip(path, content, storages, byteorder=b"little", compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("saved/data.pkl", content)
        archive.writestr("saved/byteorder", byteorder)
        for key, array in storages.items():
            archive.writestr(f"saved/data/{key}", array.tobytes(), compression)


def write_stream(path, content, storages, little=True):
    head = [0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": little}]
    parts = [*(pickle.dumps(part, 2) for part in head), content, pickle.dumps([*storages], 2)]
    for array in storages.values():
        parts += [struct.pack("<q", array.size), array.tobytes()]
    path.write_bytes(b"".join(parts))


def write(form, path, body, storages=None, **options):
    write_form = write_zip if form == "zip" else write_stream
    write_form(path, finished(body), {"0": NUMBERS} if storages is None else storages, **options)
    return path


def training_checkpoint(form, path):
    """A model with a tied weight, an optimizer with a storage of its own, an epoch."""
    model = mapping(a=tensor(), b=tensor((4, 3), (1, 4)), c=tensor(source=storage(key="1")))
    body = mapping(
        model=model,
        optimizer=mapping(m=tensor(source=storage(key="2"))),
        epoch=number(3),
        config=mapping(queue_size=number(12)),
    )
    return write(form, path, body, {key: NUMBERS + int(key) for key in "012"})
