"""Image files to pixels, and pixels to the size of the model. The only module that knows Pillow.

Formats that start other programs (EPS) or that are not pictures are not among those that are opened; the size that a
header claims is checked before anything is decoded.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.data.npy import map_path
from onnxprune.data.preprocess import Geometry
from onnxprune.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"})
_FORMATS = (
    "JPEG",
    "PNG",
    "BMP",
    "WEBP",
    "GIF",
    "TIFF",
    "PPM",
)  # JPEG is MPO, too: Pillow has no opener of its own for it
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
PIXEL_LIMIT = 100_000_000


def read_image(path: Path, channels: int, geometry: Geometry, label: str) -> NDArray[np.uint8]:
    """One image as (height, width, channels), upright (EXIF), alpha dropped or grey repeated as `channels` asks.

    Raises DataError naming the file if it cannot be decoded; UsageError if it is missing.
    """
    _require_pillow()
    from PIL import Image, ImageOps, UnidentifiedImageError

    buffer = map_path(path)
    if not buffer:
        raise DataError(f"{label} is an empty file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # size and damage are judged here
            with Image.open(io.BytesIO(buffer), formats=_FORMATS) as image:
                if image.width * image.height > PIXEL_LIMIT:
                    raise DataError(f"{label} claims {image.width} x {image.height} pixels")
                upright = ImageOps.exif_transpose(image)
                return _resized(_convert(upright, channels, label), geometry, label)
    except DataError:
        raise
    except UnidentifiedImageError as error:
        known = f"{', '.join(_FORMATS[:-1])} or {_FORMATS[-1]}"
        raise DataError(
            f"{label} is not a readable image: its bytes are not those of a {known} file",
            hint="Remove it from the folder, or save it again as an image.",
        ) from error
    except Exception as error:  # decoders of damaged files raise many types
        raise DataError(f"{label} is not a readable image: {error or type(error).__name__}") from error


def resize_pixels(pixels: NDArray[np.uint8], geometry: Geometry, label: str) -> NDArray[np.uint8]:
    """(height, width, channels) to the size of `geometry`. Raises DataError if a crop is larger than the image."""
    _require_pillow()
    from PIL import Image

    grey = pixels.shape[2] == 1
    image = Image.fromarray(np.ascontiguousarray(pixels[:, :, 0] if grey else pixels))
    return _resized(image, geometry, label)


def _require_pillow() -> None:
    try:
        import PIL.Image  # noqa: F401
    except ImportError as error:
        raise DataError("images need Pillow, which is not installed", hint="pip install pillow") from error


def _convert(image: Image.Image, channels: int, label: str) -> Image.Image:
    mode = _MODES[channels]
    if image.mode in ("I;16", "I;16L", "I;16B", "I;16N", "I", "F"):
        image = _eight_bits(image, label)
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image if image.mode == mode else image.convert(mode)


def _eight_bits(image: Image.Image, label: str) -> Image.Image:
    """16-bit grey to 8 bits; Pillow itself would clip."""
    from PIL import Image

    values = np.asarray(image)
    if image.mode == "F" or (values.size and (values.min() < 0 or values.max() > 65535)):
        raise DataError(f"{label} has pixels of mode {image.mode}, not of 8 or 16 bits", hint="Give arrays instead.")
    return Image.fromarray((values >> 8).astype(np.uint8))


def _resized(image: Image.Image, geometry: Geometry, label: str) -> NDArray[np.uint8]:
    from PIL import Image

    size: Any = geometry.resize
    if isinstance(size, int):
        short = min(image.width, image.height)
        size = tuple(max(size, int(side * size / short)) for side in (image.height, image.width))
    if size and (image.height, image.width) != size:
        if size[0] * size[1] > PIXEL_LIMIT:
            raise DataError(
                f"{label} of {image.width} x {image.height} pixels would be resized to {size[1]} x {size[0]}"
            )
        image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    if geometry.crop:
        height, width = geometry.crop
        if height > image.height or width > image.width:
            raise DataError(
                f"{label} has {image.height}x{image.width} pixels (height x width), less than crop={height}x{width}",
                hint="Resize first: --preprocess resize=N,crop=N.",
            )
        top, left = round((image.height - height) / 2), round((image.width - width) / 2)
        image = image.crop((left, top, left + width, top + height))
    pixels = np.asarray(image, np.uint8)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels
