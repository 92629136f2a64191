"""Endings of image files: what tells an image from its caption, whether or not it can be decoded.

Formats that Pillow does not read are listed, too: they are images that cannot be used, which is
said of each, and no other files.
"""

IMAGE_ENDINGS = (
    *("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff"),
    *("avif", "jfif", "heic", "heif", "jxl", "jp2", "pgm", "ppm"),
)
