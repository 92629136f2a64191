"""Suffixes of image files, decodable or not.

Formats that Pillow does not read are listed, too, so that each is reported as an unusable image.
"""

IMAGE_ENDINGS = (
    *("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff"),
    *("avif", "jfif", "heic", "heif", "jxl", "jp2", "pgm", "ppm"),
)
