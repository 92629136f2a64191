"""Small tar shards as img2dataset writes them."""

import io
import json
import tarfile

from PIL import Image


def image(number, kind="JPEG"):
    file = io.BytesIO()
    Image.new("RGB", (24, 16), (number, number, number)).save(file, kind)
    return file.getvalue()


def sample(number, **files):
    """The three files of a sample, some replaced; None leaves one out."""
    key = f"{number:09d}"
    told = {"caption": f"json caption {number}", "key": key, "url": "u", "n": 3}
    found = {"jpg": image(number), "txt": f"caption {number}", "json": json.dumps(told)} | files
    return {f"{key}.{suffix}": data for suffix, data in found.items() if data is not None}


def shard(path, *samples, form=tarfile.PAX_FORMAT):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as tar:
        for name, data in (item for files in samples for item in files.items()):
            data = data.encode() if isinstance(data, str) else data
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), 1_700_000_000.5
            tar.addfile(info, io.BytesIO(data))
    return path
