"""What a core does of the input pipeline: images a second of each stage and of all together.

Images are synthetic 640 x 480 JPEGs, or those of a directory. Times are of one thread: the time
that it had a core for, so that other programs on the machine distort them little (a shared core
still slows it down by its cache and its clock). With --threads the same is done by the real
pipeline, in wall-clock time; with --workers in so many processes, too.

Example:
    python -m benchmarks.input_pipeline --seconds=2 --threads=2 --workers=2
"""

import argparse
import io
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from albef_jax.data.bad_samples import BadSamples
from albef_jax.data.batching import shuffled_batches
from albef_jax.data.examples import PairExamples
from albef_jax.data.images.augment import TrainTransform
from albef_jax.data.images.decode import decode
from albef_jax.data.images.randaugment import RandAugment
from albef_jax.data.records import Pair
from albef_jax.data.tokenizer import Tokenizer, clean_caption
from albef_jax.errors import BadSample

CAPTIONS = (
    "A large brown dog is catching a red frisbee in the park, near two children.",
    "two boats at a wooden pier",
    "A kitchen with a well-kept stove, a sink and many pots that hang from the ceiling",
)
_REPEATS = 3  # the best counts


class Files:
    """Files in memory as `many` pairs, over and over."""

    def __init__(self, files: list[bytes], many: int = 100_000):
        self._files, self._many = files, many

    def __len__(self) -> int:
        return self._many

    def __getitem__(self, index: int) -> Pair:
        return Pair("", decode(self._files[index % len(self._files)], ""), CAPTIONS, 0)


def synthetic(count: int) -> list[bytes]:
    """640 x 480 JPEGs of about 90 kB, as detailed at all scales as photographs are."""
    files = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        image = np.full((480, 640, 3), 128.0)
        for scale in (2, 4, 8, 16, 32, 64, 128):
            noise = rng.normal(0, 5 * scale**0.5, (480 // scale + 2, 640 // scale + 2, 3))
            image += cv2.resize(noise, (640, 480), interpolation=cv2.INTER_CUBIC)
        file = io.BytesIO()
        pixels = np.clip(image, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(file, "JPEG", quality=90)
        files.append(file.getvalue())
    return files


def read(directory: Path, count: int) -> list[bytes]:
    """The first images of a directory, those that cannot be used left out."""
    files = []
    for path in sorted(path for path in directory.rglob("*") if path.is_file()):
        try:
            data = path.read_bytes()
            decode(data, str(path))
            files.append(data)
        except (BadSample, OSError):
            continue
        if len(files) == count:
            break
    if not files:
        raise SystemExit(f"error: {directory}: no images")
    return files


def per_second(work: Callable[[int], object], seconds: float) -> float:
    """Calls a second of a core's time, the best of some rounds."""
    work(0)
    best = 0.0
    for _ in range(_REPEATS):
        done, start = 0, time.thread_time()
        while (spent := time.thread_time() - start) < seconds / _REPEATS:
            work(done)
            done += 1
        best = max(best, done / spent)
    return best


def pillow_decode(data: bytes) -> np.ndarray:
    """What `decode` is compared with."""
    return np.array(Image.open(io.BytesIO(data)).convert("RGB"))


def measure(files: list[bytes], size: int, seconds: float) -> dict[str, float]:
    """Images a second of each stage, on one core."""
    count = len(files)
    images = [decode(data, "") for data in files]
    crop, whole = TrainTransform(size, randaugment_ops=0), TrainTransform(size)
    small = [crop(image, np.random.default_rng(0)) for image in images]
    randaugment, tokenizer = RandAugment(), Tokenizer("bert-base-uncased", 25)

    def rng(number: int) -> np.random.Generator:
        return np.random.default_rng([0, number, 0])

    example = PairExamples(Files(files), whole, tokenizer, 30)
    stages: dict[str, Callable[[int], object]] = {
        "decode": lambda n: decode(files[n % count], ""),
        "decode_pillow": lambda n: pillow_decode(files[n % count]),
        "crop_resize": lambda n: crop(images[n % count], rng(n)),
        "randaugment": lambda n: randaugment(small[n % count], rng(n)),
        "tokenize": lambda n: tokenizer.encode([clean_caption(CAPTIONS[n % 3], 30)]),
        "decode_crop": lambda n: crop(decode(files[n % count], ""), rng(n)),
        "whole": lambda n: example(n, rng(n)),
    }
    return {name: per_second(work, seconds) for name, work in stages.items()}


def limit_of_a_process(seconds: float) -> float:
    """Pairs a second where images have next to no pixels: what Python itself takes.

    OpenCV and Pillow let other threads run while they work, Python does not. So a process with any
    number of threads and cores makes no more than this.
    """
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG")
    tokenizer, source = Tokenizer("bert-base-uncased", 25), Files([file.getvalue()])
    example = PairExamples(source, TrainTransform(8), tokenizer, 30)
    return per_second(lambda n: example(n, np.random.default_rng([0, n, 0])), seconds)


def pipeline(files: list[bytes], size: int, threads: int, workers: int, seconds: float) -> float:
    """Pairs a second of wall-clock time through the training pipeline."""
    tokenizer, source, batch = Tokenizer("bert-base-uncased", 25), Files(files), 32
    batches = shuffled_batches(
        PairExamples(source, TrainTransform(size), tokenizer, 30),
        len(source),
        batch_size=batch,
        seed=0,
        bad_samples=BadSamples(None, 1.0, len(source)),
        threads=threads,
        workers=workers,
    )
    for _ in range(8):  # what was read ahead before the clock started
        next(batches)
    done, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < seconds:
        next(batches)
        done += batch
    batches.close()
    return done / spent


def main() -> None:
    """Measure and print one JSON line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, help="a directory of images; else synthetic ones")
    parser.add_argument("--count", type=int, default=32, help="different images")
    parser.add_argument("--image_size", type=int, default=256, help="that comes out, in pixels")
    parser.add_argument("--seconds", type=float, default=2.0, help="a stage")
    parser.add_argument("--threads", type=int, default=0, help="also run the pipeline on so many")
    parser.add_argument("--workers", type=int, default=0, help="and with so many processes, too")
    parser.add_argument("--pairs_per_s", type=float, default=1000, help="how many cores feed that?")
    given = parser.parse_args()
    cv2.setNumThreads(1)  # a core is what is measured
    files = read(given.images, given.count) if given.images else synthetic(given.count)
    rates = measure(files, given.image_size, given.seconds)
    parts = ("decode", "crop_resize", "randaugment", "tokenize")
    total = sum(1 / rates[part] for part in parts)
    found = {
        "benchmark": "input_pipeline",
        "images": str(given.images or "synthetic 640x480"),
        "mean_kb": round(sum(map(len, files)) / len(files) / 1000, 1),
        "image_size": given.image_size,
        "per_s_and_core": {name: round(rate, 1) for name, rate in rates.items()},
        "share": {part: round(1 / rates[part] / total, 3) for part in parts},
        "opencv_over_pillow_decode": round(rates["decode"] / rates["decode_pillow"], 2),
        "cores_for": {
            f"{given.pairs_per_s:g} pairs/s": round(given.pairs_per_s / rates["whole"], 1)
        },
        "limit_of_a_process": round(limit_of_a_process(given.seconds), 1),
        "cores": os.cpu_count(),
        "load_at_the_end": round(os.getloadavg()[0], 1),
    }
    if given.threads:
        found["pipeline"] = [
            {"threads": given.threads, "workers": workers, "pairs_per_s": round(rate, 1)}
            for workers in sorted({0, given.workers})
            for rate in (
                pipeline(files, given.image_size, given.threads, workers, 3 * given.seconds),
            )
        ]
    print(json.dumps(found))


if __name__ == "__main__":
    main()
