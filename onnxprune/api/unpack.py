"""The function of the API that gives a packed model back: `unpack`. Nothing here prints."""

from __future__ import annotations

import os
from pathlib import Path

from onnxprune.api.public import public
from onnxprune.errors import OutputError
from onnxprune.model.load import load
from onnxprune.model.save import StagedFiles, output_path
from onnxprune.model.sources import beside
from onnxprune.options.others import UnpackOptions
from onnxprune.packing.names import data_names
from onnxprune.packing.reader import Packed
from onnxprune.packing.results import UnpackResult
from onnxprune.results.clock import Clock
from onnxprune.results.units import parse_bytes


@public(UnpackOptions)
def unpack(options: UnpackOptions, file: str | Path, out: str | Path | None = None) -> UnpackResult:
    """Write the model that a packed file holds, and its data files under their own names into the same folder.

    Args:
        file: That `pack` wrote.
        out: The model to write. Default: NAME.unpacked.onnx beside the file.

    Returns:
        What was written, and whether it is the very model that was packed.

    Raises:
        ModelError: The file is damaged or hostile. As with all errors, nothing was written.
        UsageError: There is no such file, or `max_size` is no size.
        OutputError: A file cannot be written, or is there.
    """
    clock = Clock(options.told)
    path = Path(file)
    packed = Packed(path, max_size=None if options.max_size is None else parse_bytes(options.max_size))
    target = output_path(beside(path, ".unpacked.onnx") if out is None else out)
    names = [target.name, *data_names(packed, target)]
    if not options.force:
        _keep_data(target.parent, names[1:])
    with StagedFiles(target, names, force=options.force, protected=(path,)) as staged:
        clock.start("unpack")
        for name, chunks in zip(names, packed.files(), strict=True):
            staged.write(name, chunks)
        clock.start("check")
        load(staged.path)
        clock.start("write")
        written = staged.commit()
    found = packed.directory
    return UnpackResult(
        path.name,
        packed.packed_bytes,
        found.size,
        found.unpacked.hex(),
        found.original.hex(),
        written,
        clock.finish(),
    )


def _keep_data(folder: Path, names: list[str]) -> None:
    """Raise OutputError for a data file that is there: most often that of the model that was packed, which reads it."""
    for name in names:
        if os.path.lexists(folder / name):
            raise OutputError(
                f"the output {str(folder / name)!r} exists: data files keep their names, and another model may read it",
                hint="Give an output in another folder. --force replaces it, whoever reads it.",
            )
