import io
import struct

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from albef_jax.data.images import rgb
from albef_jax.data.images.decode import decode, resize_for_eval
from albef_jax.errors import BadSample


def smooth_image(height=48, width=64):
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 255 // width, y * 255 // height, (x + y) % 256], -1).astype(np.uint8)


def encoded(photo, kind="PNG", **options):
    file = io.BytesIO()
    photo.save(file, kind, **options)
    return file.getvalue()


RGB = Image.fromarray(smooth_image())
NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (100, 150, 3), np.uint8))
IMAGES = {
    "rgb jpeg": encoded(RGB, "JPEG"),
    "progressive jpeg": encoded(RGB, "JPEG", progressive=True),
    "grey jpeg": encoded(RGB.convert("L"), "JPEG"),
    "cmyk jpeg": encoded(RGB.convert("CMYK"), "JPEG"),
    "rgb png": encoded(RGB),
    "grey png": encoded(RGB.convert("L")),
    "palette png": encoded(RGB.convert("P")),
    "black and white png": encoded(RGB.convert("1")),
    "alpha png": encoded(RGB.convert("RGBA")),
    "grey alpha png": encoded(RGB.convert("LA")),
    "gif": encoded(RGB, "GIF"),
    "webp": encoded(RGB, "WEBP"),
    "bmp": encoded(RGB, "BMP"),
    "tiff": encoded(RGB, "TIFF"),
}


@pytest.mark.parametrize("kind", IMAGES)
def test_every_kind_of_image_equals_pillow(kind):
    image = decode(IMAGES[kind], kind)
    expected = np.array(Image.open(io.BytesIO(IMAGES[kind])).convert("RGB"))
    assert image.dtype == np.uint8
    assert image.shape == (48, 64, 3)
    assert np.abs(image.astype(int) - expected).max() <= 2


def test_16_bit_grey_is_scaled_to_8_bits():
    ramp = np.linspace(0, 65535, 48 * 64).reshape(48, 64).astype(np.uint16)
    image = decode(cv2.imencode(".png", ramp)[1].tobytes(), "grey16")
    assert np.array_equal(image, np.repeat((ramp // 256)[:, :, None], 3, axis=2))


def test_16_bit_colour_is_scaled_to_8_bits():
    wide = smooth_image().astype(np.uint16) * 257
    image = decode(cv2.imencode(".png", wide[:, :, ::-1])[1].tobytes(), "rgb16")
    assert np.abs(image.astype(int) - smooth_image()).max() <= 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_exif_orientation_is_ignored(kind):
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    assert decode(encoded(RGB, kind, exif=exif), "turned").shape == (48, 64, 3)


def test_bytes_after_the_end_of_a_jpeg_do_no_harm():
    whole = IMAGES["rgb jpeg"]
    for tail in (b"\0\0", b"trailer"):
        assert np.array_equal(decode(whole + tail, "padded"), decode(whole, "whole"))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
@pytest.mark.parametrize("share", [0.1, 0.6, 0.98])
def test_truncated_files_are_refused(kind, share):
    data = encoded(NOISE, kind)
    with pytest.raises(BadSample, match=r"a/b\.jpg: [A-Za-z :]+$"):
        decode(data[: int(share * len(data))], "a/b.jpg")


@pytest.mark.parametrize("mode", ["RGB", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_truncated_jpeg_filled_up_with_zeros_is_refused(mode, progressive):
    data = encoded(NOISE.convert(mode), "JPEG", progressive=progressive)
    with pytest.raises(BadSample, match="truncated"):
        decode(data[: len(data) // 2] + bytes(len(data) // 2), "x")


def test_a_truncated_jpeg_with_a_whole_thumbnail_is_refused():
    thumbnail = IMAGES["rgb jpeg"]
    data = encoded(NOISE, "JPEG", comment=thumbnail)
    cut = data[:-1000]
    assert thumbnail in cut
    with pytest.raises(BadSample, match="truncated"):
        decode(cut, "x")
    assert decode(data, "x").shape == (100, 150, 3)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "0 bytes"),
        (b"<html>404 Not Found</html>", "not an image"),
        (b"\xff\xd8\xff\xd9", "not an image"),
        (bytes(1000), "not an image"),
    ],
)
def test_what_is_no_image_is_refused(data, reason):
    with pytest.raises(BadSample, match=reason) as caught:
        decode(data, "photos/7.jpg")
    assert caught.value.name == "photos/7.jpg"


@pytest.mark.parametrize("side", [10_500, 30_000])
def test_absurd_dimensions_are_refused_before_decoding(side):
    header = bytearray(encoded(Image.new("L", (1, 1)), "BMP"))
    header[18:26] = np.array([side, side], "<i4").tobytes()
    with pytest.raises(BadSample, match="million pixels"):
        decode(bytes(header), "huge.bmp")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", IMAGES)
def test_damaged_bytes_never_raise_anything_else(kind):
    rng = np.random.default_rng(0)
    for _ in range(60):
        data = np.frombuffer(IMAGES[kind], np.uint8).copy()
        places = rng.integers(0, min(len(data), 400), 3)
        data[places] = rng.integers(0, 256, 3)
        try:
            assert decode(data.tobytes(), kind).shape[2] == 3
        except BadSample as bad:
            assert bad.name == kind and "\n" not in bad.reason


def test_resize_for_eval_is_pillow_bicubic():
    image = smooth_image()
    expected = np.array(RGB.resize((32, 32), Image.Resampling.BICUBIC))
    assert np.array_equal(resize_for_eval(image, 32), expected)


def test_resize_for_eval_leaves_the_right_size_alone():
    image = smooth_image(32, 32)
    assert resize_for_eval(image, 32) is image


RAMP = np.linspace(0, 65535, 48 * 64).reshape(48, 64).astype(np.uint16)
GREY = (RAMP >> 8).astype(np.uint8)


def pgm(values, highest):
    return b"P5 64 48 %d\n" % highest + values.astype(">u2").tobytes()


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("png", encoded(Image.fromarray(RAMP))),
        ("tiff", encoded(Image.fromarray(RAMP), "TIFF")),
        ("jpeg 2000", encoded(Image.fromarray(RAMP), "JPEG2000", irreversible=False)),
        ("pgm, read into 32 bits", pgm(RAMP, 65535)),
        ("pgm of 12 bits", pgm(RAMP >> 4, 4095)),
        (
            "float tiff from 0 to 1",
            encoded(Image.fromarray(RAMP.astype(np.float32) / 65535), "TIFF"),
        ),
    ],
)
def test_more_than_8_bits_are_scaled_and_not_clipped(kind, data):
    for image in (decode(data, kind), rgb.of_pil(Image.open(io.BytesIO(data)))):
        assert np.abs(image.astype(int) - GREY[..., None]).max() <= 1


def test_12_bits_in_a_tiff_are_not_nearly_black():
    """Pillow leaves them from 0 to 4095 in 16 bits."""
    packed = np.stack([RAMP[:, ::2] >> 4, RAMP[:, 1::2] >> 4], -1).astype(np.uint32)
    both = (packed[..., 0] << 12) | packed[..., 1]
    data = np.stack([both >> 16, both >> 8, both], -1).astype(np.uint8).tobytes()
    entries = [(256, 64), (257, 48), (258, 12), (259, 1), (262, 1), (273, 200), (277, 1)]
    entries += [(278, 48), (279, len(data))]
    rows = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    head = b"II*\0" + struct.pack("<IH", 8, len(entries)) + rows + bytes(4)
    image = decode(head + bytes(200 - len(head)) + data, "12 bits")
    assert np.abs(image.astype(int) - GREY[..., None]).max() <= 1


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (RAMP.astype(np.int32), r"32 or signed 16 bits \(from 0 to 65535\).*range is not known"),
        (RAMP.astype(np.float32), r"floats from 0 to 65535: give values from 0 to 1"),
        (np.full((48, 64), np.nan, np.float32), "not finite"),
    ],
)
def test_an_unknown_range_is_a_bad_sample(array, reason):
    with pytest.raises(BadSample, match=rf"^scan\.tif: .*{reason}"):
        decode(encoded(Image.fromarray(array), "TIFF"), "scan.tif")
    with pytest.raises(rgb.NoRgb, match=r"not known|floats"):
        rgb.of_pil(Image.fromarray(array))


@pytest.mark.parametrize(
    "array",
    [
        RAMP,
        GREY,
        GREY[..., None],
        np.stack([GREY] * 3, -1),
        np.stack([GREY] * 4, -1),
        GREY / 255,
        (GREY / 255).astype(np.float32),
        np.stack([RAMP] * 3, -1),
    ],
    ids=lambda array: f"{array.dtype} {array.shape}",
)
def test_an_array_of_any_kind_is_the_same_image(array):
    assert np.array_equal(rgb.of_array(array), np.stack([GREY] * 3, -1))


def test_true_is_white():
    assert rgb.of_array(GREY > 127).max() == 255


@pytest.mark.parametrize("number", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_the_exif_orientation_is_applied_where_asked_for(kind, number):
    exif = Image.Exif()
    exif[0x0112] = number
    data = encoded(RGB, kind, exif=exif)
    expected = np.array(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    assert np.array_equal(decode(data, "photo", upright=True), expected)
    assert np.array_equal(rgb.of_pil(Image.open(io.BytesIO(data)), upright=True), expected)


def test_damaged_exif_data_turn_nothing():
    data = encoded(RGB, "JPEG", exif=b"Exif\0\0no TIFF header here")
    assert decode(data, "photo", upright=True).shape == (48, 64, 3)
