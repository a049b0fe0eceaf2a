"""A folder of images, or of .npy/.npz files with one or more samples each; subfolders included, sorted by name."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.data import images
from onnxprune.data.npy import read_npy, read_npz
from onnxprune.data.pieces import Pieces
from onnxprune.data.preprocess import Preprocess, geometry, require_scale, target
from onnxprune.data.specs import InputSpec, expected, name_check
from onnxprune.errors import DataError

DEFAULT_SAMPLES = 1024
ARRAYS = frozenset({".npy", ".npz"})
_ENTRY_LIMIT = 5_000_000


@dataclass(frozen=True)
class Spooled:
    """Data that was read once, piece by piece, and what to say about it."""

    pieces: Pieces
    note: str
    pixels: bool = False
    """Whether it is images, in bytes, still to be scaled."""


def list_files(folder: Path) -> tuple[list[str], str]:
    """Relative names of the usable files, sorted, and their kind: "images" or "arrays".

    Hidden files and other suffixes are passed over. Raises DataError if there are none, or both kinds.
    """
    found: dict[str, list[str]] = {"images": [], "arrays": []}
    seen = 0
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        for name in files:
            seen += 1
            suffix = os.path.splitext(name)[1].lower()
            kind = "images" if suffix in images.SUFFIXES else "arrays" if suffix in ARRAYS else None
            if kind and not name.startswith("."):
                found[kind].append(Path(root, name).relative_to(folder).as_posix())
        if seen > _ENTRY_LIMIT:
            raise DataError(f"{folder.name} holds more than {_ENTRY_LIMIT} files")
    if found["images"] and found["arrays"]:
        raise DataError(
            f"{folder.name} holds both images ({found['images'][0]}) and arrays ({found['arrays'][0]})",
            hint="Put them into two folders.",
        )
    kind = "images" if found["images"] else "arrays"
    if not found[kind]:
        raise DataError(
            f"{folder.name} holds no images and no .npy or .npz files ({seen} other files)",
            hint="Images: " + ", ".join(sorted(images.SUFFIXES)),
        )
    return sorted(found[kind]), kind


def choose(count: int, wanted: int | None, seed: int) -> NDArray[np.intp]:
    """Which of `count` things to take: all, or a seeded draw of `wanted`, in order (folders are sorted by class)."""
    if wanted is None or wanted >= count:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, wanted, replace=False)).astype(np.intp)


def read_folder(
    folder: Path, specs: Sequence[InputSpec], steps: Preprocess | None, samples: int | None, seed: int
) -> Spooled:
    """Read at most `samples` (default 1024) of the folder's files, drawn by `seed`.

    Raises DataError naming the file that cannot be read or does not fit.
    """
    names, kind = list_files(folder)
    wanted = (samples or DEFAULT_SAMPLES) * max(spec.group for spec in specs)
    chosen = [names[i] for i in choose(len(names), wanted, seed)]
    if kind == "images":
        pieces = _read_images(folder, chosen, specs, steps or Preprocess())
    else:
        pieces = Pieces(specs)
        for name, arrays in _files(folder, chosen, specs):
            pieces.add(arrays, name)
    count = f"{len(chosen)} of {len(names)}" if len(chosen) < len(names) else str(len(names))
    word = "images" if kind == "images" else "files"
    return Spooled(pieces, f"{count} {word}", kind == "images")


def _read_images(folder: Path, names: Sequence[str], specs: Sequence[InputSpec], steps: Preprocess) -> Pieces:
    if len(specs) != 1:
        raise DataError(
            f"a folder of images feeds one input, the model has {len(specs)}",
            hint="Use .npz files (one key per input) or file.py:function.  " + expected(specs),
        )
    require_scale(specs[0], steps, "the images")
    wanted = target(specs[0], steps)
    shaping = geometry(specs[0], steps, wanted)
    pieces = Pieces(specs)
    first: tuple[str, tuple[int, ...]] | None = None
    for name in names:
        pixels = images.read_image(folder / name, wanted.channels, shaping, name)
        first = first or (name, pixels.shape)
        if pixels.shape != first[1]:
            raise DataError(
                f"images of different sizes: {first[0]} is {first[1][0]}x{first[1][1]}, "
                f"{name} is {pixels.shape[0]}x{pixels.shape[1]} (height x width), and the model fixes none",
                hint="Say one: --preprocess resize=224x224, or resize=256,crop=224.",
            )
        pieces.add_rows(specs[0].name, pixels[None], name)
    return pieces


def _files(
    folder: Path, names: Sequence[str], specs: Sequence[InputSpec]
) -> Iterator[tuple[str, Mapping[str, NDArray[Any]]]]:
    for name in names:
        if name.lower().endswith(".npy"):
            if len(specs) != 1:
                raise DataError(f"{name} feeds one input, the model has {len(specs)}", hint=expected(specs))
            yield name, {specs[0].name: read_npy(folder / name)}
        else:
            arrays = read_npz(folder / name, name_check(specs, name))
            if len(specs) == 1 and len(arrays) == 1:
                arrays = dict(zip([specs[0].name], arrays.values(), strict=True))
            yield name, arrays
