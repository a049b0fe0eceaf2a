"""Sizes of sliding windows: what Conv, ConvTranspose and the pools share. Functions take any number of axes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from onnxprune.capture.grad.builder import Value
from onnxprune.capture.grad.call import Call, NoRule

Sizes = tuple[int, ...]


@dataclass(frozen=True)
class Window:
    """A kernel that slides over axes of size `wide` and stops at `narrow` places. All lists have one entry per axis."""

    kernel: Sizes
    strides: Sizes
    dilations: Sizes
    before: Sizes
    wide: Sizes
    narrow: Sizes

    @property
    def axes(self) -> range:
        return range(len(self.kernel))

    @property
    def reach(self) -> Sizes:
        """How far the last tap is from the first."""
        return tuple((k - 1) * d for k, d in zip(self.kernel, self.dilations, strict=True))

    @property
    def after(self) -> Sizes:
        """What must be padded behind (negative: what is never read) so that the windows fit without a remainder."""
        spans = zip(self.narrow, self.strides, self.reach, self.before, self.wide, strict=True)
        return tuple((n - 1) * s + r + 1 - b - w for n, s, r, b, w in spans)

    @property
    def plain(self) -> bool:
        """True for a kernel of one tap that reads every place once."""
        return (
            all(k == 1 for k in self.kernel)
            and all(s == 1 for s in self.strides)
            and not any(self.before)
            and self.wide == self.narrow
        )

    def options(self, *, spare: bool = False) -> dict[str, list[int]]:
        """Attributes of a Conv over these windows. With `spare`, those of a ConvTranspose back to the wide side."""
        after = [max(0, a) for a in self.after]
        found = {"strides": [*self.strides], "dilations": [*self.dilations], "pads": [*self.before, *after]}
        if spare:
            found["output_padding"] = [max(0, -a) for a in self.after]
        return found


def window(op: Call, kernel: Sizes, wide: Sizes, narrow: Sizes) -> Window:
    """The windows of a Conv or a pool. `wide` is the side that the strides divide, `narrow` the other one."""
    rank = len(kernel)
    strides = tuple(op.attribute("strides") or [1] * rank)
    dilations = tuple(op.attribute("dilations") or [1] * rank)
    before = tuple((op.attribute("pads") or [0] * 2 * rank)[:rank])
    auto = op.attribute("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        spans = zip(narrow, strides, kernel, dilations, wide, strict=True)
        totals = [max(0, (n - 1) * s + (k - 1) * d + 1 - w) for n, s, k, d, w in spans]
        before = tuple(t // 2 if auto == "SAME_UPPER" else t - t // 2 for t in totals)
    elif auto == "VALID":
        before = (0,) * rank
    elif auto != "NOTSET":
        raise NoRule(f"auto_pad {auto} is not known")
    if any(b < 0 for b in before):
        raise NoRule("its pads are negative")
    return Window(tuple(kernel), strides, dilations, before, tuple(wide), tuple(narrow))


def transposed_window(op: Call, kernel: Sizes, wide: Sizes, narrow: Sizes) -> Window:
    """The windows of a ConvTranspose. What output_shape or auto_pad ask for shows in the size of the output."""
    frame = window(op, kernel, wide, narrow)
    auto = op.attribute("auto_pad", "NOTSET")
    if op.attribute("output_shape") is None and auto not in ("SAME_UPPER", "SAME_LOWER"):
        return frame
    extra = op.attribute("output_padding") or [0] * len(kernel)
    spans = zip(narrow, frame.strides, frame.reach, extra, wide, strict=True)
    totals = [max(0, (n - 1) * s + r + 1 + e - w) for n, s, r, e, w in spans]
    before = tuple(t // 2 if auto == "SAME_UPPER" else t - t // 2 for t in totals)
    return replace(frame, before=before)


def columns(x: Value, frame: Window) -> Value:
    """im2col: (N, C, *wide) to (N, C * taps, places), tap index running fastest.

    It is a depthwise Conv whose filters are the unit vectors: the runtime's own kernel gathers all taps in parallel,
    with strides, dilations and pads. Where there is one tap per place the values stay where they are.
    """
    n, channels = x.shape[:2]
    places = int(np.prod(frame.narrow))
    if frame.plain:
        return x.reshape((n, channels, places))
    taps = int(np.prod(frame.kernel))
    units = np.tile(unit_filters(frame), (channels, *(1,) * (len(frame.kernel) + 1)))
    spread = x.at.node(
        "Conv",
        [x, x.at.constant(units, x.dtype)],
        (n, channels * taps, *frame.narrow),
        x.dtype,
        group=channels,
        kernel_shape=[*frame.kernel],
        **frame.options(),
    )
    return spread.reshape((n, channels * taps, places))


def unit_filters(frame: Window) -> NDArray[np.float64]:
    """One filter per tap that reads nothing else: (taps, 1, *kernel)."""
    taps = int(np.prod(frame.kernel))
    return np.eye(taps).reshape(taps, 1, *frame.kernel)


def tapped(x: Value, frame: Window) -> list[Value]:
    """What each tap of the kernel reads: one value of shape (N, C, *narrow) per tap, in the order of the kernel."""
    if len(frame.kernel) == 2 and frame.strides[0] == frame.strides[1] > 1:
        return _from_planes(x, frame)
    padded = x.pad({2 + i: (frame.before[i], frame.after[i]) for i in frame.axes})
    values = []
    for tap in np.ndindex(frame.kernel):
        bounds = {}
        for i in frame.axes:
            start = tap[i] * frame.dilations[i]
            bounds[2 + i] = (start, start + (frame.narrow[i] - 1) * frame.strides[i] + 1, frame.strides[i])
        values.append(padded.slice(bounds))
    return values


def _from_planes(x: Value, frame: Window) -> list[Value]:
    """With strides, x is split into one plane per phase at once: slices of planes are contiguous, strided ones slow."""
    step, channels = frame.strides[0], x.shape[1]
    sizes = [frame.reach[i] // step + frame.narrow[i] for i in frame.axes]
    after = [step * sizes[i] - frame.wide[i] - frame.before[i] for i in frame.axes]
    padded = x.pad({2 + i: (frame.before[i], after[i]) for i in frame.axes})
    shape = (x.shape[0], step * step * channels, *sizes)
    planes = x.at.node("SpaceToDepth", [padded], shape, x.dtype, blocksize=step)
    values = []
    for tap in np.ndindex(frame.kernel):
        places = [tap[i] * frame.dilations[i] for i in frame.axes]
        phase = places[0] % step * step + places[1] % step
        bounds = {2 + i: (places[i] // step, places[i] // step + frame.narrow[i], 1) for i in frame.axes}
        values.append(planes.slice({1: (phase * channels, (phase + 1) * channels, 1), **bounds}))
    return values
