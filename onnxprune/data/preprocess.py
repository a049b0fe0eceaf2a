"""How pixels become what the model expects, said in one line instead of code.

`imagenet`, or options separated by commas, or both (`imagenet,resize=232`):

| option | value | default |
| --- | --- | --- |
| scale | a number or fraction: 1/255; 1 takes 0..255 as it is | must be said for a model of floats |
| mean, std | one number, or one per channel with bars between; (pixel * scale - mean) / std | 0, 1 |
| layout | nchw or nhwc: the model's | from the input's shape, else nchw |
| resize | N (shorter side) or HxW | the model's size, if neither resize nor crop is given |
| crop | N or HxW, from the centre | after resize=N: the model's size |
| color | rgb or bgr: the model's order of channels; mean and std are in that order | rgb |

`imagenet` is torchvision's: shorter side to 256/224 of the model's size, centre crop to it, 0..1, then the mean and
deviation of ImageNet. Example of all: scale=1/255,mean=0.485|0.456|0.406,std=0.229|0.224|0.225,resize=256,crop=224.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.data.convert import Convert, family
from onnxprune.data.specs import InputSpec, type_name
from onnxprune.errors import DataError, UsageError, did_you_mean

Size = tuple[int, int]
_CHANNELS = (1, 3, 4)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?(/(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?)?", re.ASCII)
_SINGLE = np.finfo(np.float32)
_SIZE = re.compile(r"([1-9]\d{0,4})(?:x([1-9]\d{0,4}))?", re.ASCII)


@dataclass(frozen=True)
class Preprocess:
    """The parsed option. A size is (height, width); an int resizes the shorter side. None: not said."""

    scale: float | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    layout: str | None = None
    resize: int | Size | None = None
    crop: Size | None = None
    color: str = "rgb"
    preset: bool = False


def parse(text: str) -> Preprocess:
    """Read the option. Raises UsageError for an unknown option, a value that is none, or an option given twice."""
    result, seen = Preprocess(), set()
    for number, part in enumerate(text.split(",")):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        key = key.lower()
        if number == 0 and key == "imagenet" and not equals:
            mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
            result = Preprocess(scale=1 / 255, mean=mean, std=std, preset=True)
            continue
        if key not in _READERS or not equals:
            known = ["imagenet", *_READERS]
            raise UsageError(
                f"--preprocess: unknown option {part.strip()!r}",
                hint=did_you_mean(key, known)
                + 'Known: imagenet, or "scale=1/255,mean=..,std=..,layout=..,resize=..,crop=..,color=.."',
            )
        if key in seen:
            raise UsageError(f"--preprocess: {key!r} is given twice")
        seen.add(key)
        try:
            result = replace(result, **{key: _READERS[key](value)})
        except ValueError as error:
            raise UsageError(f"--preprocess: {key}={value!r} is not {error}") from None
    return result


def _number(text: str) -> float:
    if not _NUMBER.fullmatch(text.strip()):
        raise ValueError("a number or a fraction like 1/255")
    top, _, bottom = text.strip().partition("/")
    divisor = float(bottom) if bottom else 1.0
    value = float(top) / divisor if divisor else math.inf
    if not math.isfinite(value):
        raise ValueError("a finite number")
    if abs(value) > float(_SINGLE.max):
        raise ValueError(f"a number that float32 holds: at most {_SINGLE.max:.3g}")
    return value


def _nonzero(text: str) -> float:
    value = _number(text)
    if not value:
        raise ValueError("a number other than 0")
    if abs(value) < float(_SINGLE.tiny):
        raise ValueError(f"a number that float32 tells from 0: at least {_SINGLE.tiny:.3g}")
    return value


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(_number(part) for part in text.split("|"))


def _deviations(text: str) -> tuple[float, ...]:
    return tuple(_nonzero(part) for part in text.split("|"))


def _word(*known: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text.lower() not in known:
            raise ValueError(" or ".join(known))
        return text.lower()

    return read


def _side(text: str) -> int | Size:
    found = _SIZE.fullmatch(text)
    if not found:
        raise ValueError("a size in pixels: 224 or 480x640 (height x width)")
    return (int(found[1]), int(found[2])) if found[2] else int(found[1])


def _box(text: str) -> Size:
    side = _side(text)
    return (side, side) if isinstance(side, int) else side


_READERS: dict[str, Callable[[str], Any]] = {
    "scale": _nonzero,
    "mean": _numbers,
    "std": _deviations,
    "layout": _word("nchw", "nhwc"),
    "resize": _side,
    "crop": _box,
    "color": _word("rgb", "bgr"),
}


@dataclass(frozen=True)
class Target:
    """What one image input wants: channels on `axis` (1 or 3 of the batch), and its size where it is fixed."""

    channels: int
    axis: int
    height: int | None
    width: int | None


def target(spec: InputSpec, steps: Preprocess) -> Target:
    """Raises DataError if the input cannot take images."""
    if len(spec.shape) != 4:
        raise DataError(f"input {spec} does not take images (4 axes)", hint="Give arrays: --data x=a.npy.")
    known = [size if isinstance(size, int) else None for size in spec.shape]
    last = steps.layout == "nhwc" or (
        steps.layout is None and known[1] not in _CHANNELS and (known[3] in _CHANNELS or known[1] is not None)
    )
    axis = 3 if last else 1
    channels = known[axis] if known[axis] is not None else 3
    if channels not in _CHANNELS:
        raise DataError(
            f"input {spec} wants {channels} channels; images have 1, 3 or 4",
            hint="If the layout is misread, say it: --preprocess layout=nchw or layout=nhwc.",
        )
    height, width = (known[1], known[2]) if last else (known[2], known[3])
    return Target(channels, axis, height, width)


@dataclass(frozen=True)
class Geometry:
    """Resize (shorter side, or exact), then crop around the centre. Both None: images stay as they are."""

    resize: int | Size | None
    crop: Size | None

    @property
    def size(self) -> Size | None:
        """(height, width) of every result, if it does not depend on the image."""
        return self.crop or (self.resize if isinstance(self.resize, tuple) else None)


def geometry(spec: InputSpec, steps: Preprocess, wanted: Target) -> Geometry:
    """Raises UsageError if the asked size is not the model's."""
    fixed = (wanted.height, wanted.width) if wanted.height and wanted.width else None
    resize, crop = steps.resize, steps.crop
    if steps.preset:
        crop = crop or (resize if isinstance(resize, tuple) else None) or fixed or (224, 224)
        resize = resize or round(max(crop) * 256 / 224)
    elif resize is None and crop is None:
        resize = fixed
    elif isinstance(resize, int) and crop is None:
        crop = fixed
    found = Geometry(resize, crop)
    if found.size and any(want not in (None, size) for want, size in zip(_sides(wanted), found.size, strict=True)):
        raise UsageError(f"--preprocess makes images of {found.size[0]}x{found.size[1]}, which do not fit input {spec}")
    return found


def _sides(wanted: Target) -> tuple[int | None, int | None]:
    return wanted.height, wanted.width


def require_scale(spec: InputSpec, steps: Preprocess, label: str) -> None:
    """Pixels are 0..255; what the model takes is not in the file. Raises DataError unless the user said it."""
    said = steps.scale is not None or steps.mean is not None or steps.std is not None
    if family(spec.numpy) == "float" and not said:
        raise DataError(
            f"{label} hold 0..255 and input {spec} takes {type_name(spec)}: nothing says how the pixels are scaled",
            hint="--preprocess imagenet, or scale=1/255 (to 0..1), or scale=1 (as they are).",
        )
    if family(spec.numpy) != "float" and said:
        raise UsageError(f"--preprocess: input {spec} takes whole numbers: scale, mean and std do not apply")


def arithmetic(spec: InputSpec, steps: Preprocess, axis: int | None, channels: int) -> Convert:
    """(pixel * scale - mean) / std in float32, then the model's type. `axis`: that of the channels, if there is one.

    Raises UsageError if mean or std are not one number or one per channel, or if the model's type does not hold what
    comes out for some pixel.
    """
    shape = [1] * len(spec.shape)
    if axis is not None:
        shape[axis] = channels
    constants = []
    for key, values in (("mean", steps.mean or (0.0,)), ("std", steps.std or (1.0,))):
        if len(values) not in (1, channels):
            raise UsageError(f"--preprocess: {key} has {len(values)} values, input {spec} has {channels} channels")
        constants.append(np.array(values, np.float32).reshape(shape if len(values) > 1 else [1] * len(shape)))
    mean, std = constants
    scale = np.float32(steps.scale if steps.scale is not None else 1.0)

    def convert(array: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(((array.astype(np.float32) * scale - mean) / std).astype(spec.numpy))

    _require_finite(spec, convert)
    return convert


def _require_finite(spec: InputSpec, convert: Convert) -> None:
    """The arithmetic is linear: what holds the darkest and the brightest pixel holds all."""
    for pixel in (0, 255):
        with np.errstate(over="ignore", invalid="ignore"):  # judged here
            found = convert(np.full([1] * len(spec.shape), pixel, np.uint8)).astype(np.float64)
        if not np.isfinite(found).all():
            raise UsageError(
                f"--preprocess: a pixel of {pixel} becomes {found[~np.isfinite(found)][0]:g} for input {spec}, which "
                f"is more than {type_name(spec)} holds",
                hint="It is (pixel * scale - mean) / std: take a smaller scale, or a larger std.",
            )
