"""The models of a run: read, fed, and tried in processes of their own before they are timed."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from onnxprune.benching.inputs import Fed, from_data, noise, write_feeds
from onnxprune.benching.options import Sizes
from onnxprune.benching.results import BenchedModel, Rejected, Setting
from onnxprune.benching.tasks import Crashed, run_job
from onnxprune.capture.feeding import runnable
from onnxprune.capture.operators import Operators, operators_of
from onnxprune.data import open_data
from onnxprune.errors import DataError, OnnxPruneError, UsageError
from onnxprune.measure.files import as_file
from onnxprune.model.load import Model, load
from onnxprune.results import Progress, ProgressCallback

PROBES = 3


@dataclass
class Candidate:
    """A model on its way: `fed` and `probes` by setting; `refused` once it has turned out that it cannot be run."""

    name: str
    model: Model
    path: Path
    fed: dict[Setting, Fed] = field(default_factory=dict)
    feeds: dict[Setting, list[str]] = field(default_factory=dict)
    probes: dict[Setting, list[dict[str, Any]]] = field(default_factory=dict)
    refused: str | None = None

    @property
    def summary(self) -> BenchedModel:
        return BenchedModel(self.name, self.model.size_bytes)

    @cached_property
    def library(self) -> bool:
        """Whether it runs by the library with the sparse operators."""
        return operators_of(self.model.proto) is Operators.LIBRARY

    def job(self, setting: Setting) -> dict[str, Any]:
        """What the process that runs it needs to know."""
        return {"path": str(self.path), "feeds": self.feeds[setting], "library": self.library}


@dataclass
class Session:
    """What one call of `bench` knows: the folder for its files, how long to measure, and whom to tell."""

    folder: Path
    seconds: float
    runs: int | None
    seed: int
    progress: ProgressCallback | None
    steps: int = 1
    done: int = 0

    def tell(self, message: str) -> None:
        if self.progress is not None:
            self.progress(Progress("bench", self.done, self.steps, message))
        self.done += 1


class Source(Protocol):
    """What models are fed: `fed` if it is there, samples of `data`, or noise of these `shapes`."""

    @property
    def fed(self) -> Fed | None: ...

    @property
    def data(self) -> Any: ...

    @property
    def preprocess(self) -> str | None: ...

    @property
    def shapes(self) -> Sizes: ...


def names_of(paths: Sequence[Path | None]) -> list[str]:
    """How reports call the models: by file name, with the folder or a number where two have the same."""
    files = ["model" if path is None else path.name for path in paths]
    folders = [
        name if path is None or files.count(name) == 1 else str(Path(path.absolute().parent.name) / name)
        for name, path in zip(files, paths, strict=True)
    ]
    if len(set(folders)) < len(set(map(str, paths))):
        folders = [str(path) for path in paths]
    seen: dict[str, int] = {}
    found = []
    for name, file in zip(folders, files, strict=True):
        name = file if folders.count(name) == files.count(file) else name
        seen[name] = seen.get(name, 0) + 1
        found.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return found


def _known_as(model: Model) -> Path | None:
    """Where it is from, with the name of a result that is in memory instead of that of its original."""
    return model.path if model.label is None else (model.path or Path(model.label)).with_name(model.name)


def opened(
    models: Sequence[str | Path | Model], stack: contextlib.ExitStack
) -> tuple[list[Candidate], list[Rejected], str]:
    """Read all models; (candidates, rejected, the name of the first). Raises UsageError for a missing path."""
    paths = [_known_as(model) if isinstance(model, Model) else Path(model) for model in models]
    found: list[Candidate] = []
    rejected: list[Rejected] = []
    names = names_of(paths)
    for name, model in zip(names, models, strict=True):
        try:
            read = model if isinstance(model, Model) else load(model)
        except UsageError:
            raise
        except OnnxPruneError as error:
            hint = f" ({error.hint.rstrip('.')})" if error.hint else ""
            rejected.append(Rejected(name, error.message + hint))
            continue
        found.append(Candidate(name, read, stack.enter_context(as_file(read)).absolute()))
    return found, rejected, names[0]


def prepare(
    session: Session,
    candidates: Sequence[Candidate],
    setting: Setting,
    asked: Source,
    *,
    larger: bool,
) -> None:
    """Feeds for every candidate, as files. Models that take the same inputs get the same values."""
    shared: list[tuple[Fed, list[str]]] = []
    for number, candidate in enumerate(candidates):
        try:
            fed = _fed(session, candidate.model, setting, asked, larger=larger)
        except (UsageError, DataError) as error:
            raise type(error)(f"{candidate.name}: {error.message}", hint=error.hint) from error
        same = next((paths for other, paths in shared if _alike(other, fed)), None)
        if same is None:
            same = write_feeds(fed.feeds, session.folder, f"feed{len(candidate.fed)}.{number}")
            shared.append((fed, same))
        candidate.fed[setting], candidate.feeds[setting] = fed, same


def _fed(session: Session, model: Model, setting: Setting, asked: Source, *, larger: bool) -> Fed:
    if asked.fed is not None:
        return asked.fed
    if asked.data is None:
        return noise(model, asked.shapes, setting.batch, session.seed, larger=larger)
    found = open_data(asked.data, model, preprocess=asked.preprocess, seed=session.seed)
    return from_data(runnable(model, found), setting.batch)


def _alike(a: Fed, b: Fed) -> bool:
    """Whether two models take the same inputs, so that one may be fed what the other is."""
    return len(a.feeds) == len(b.feeds) and all(
        x.keys() == y.keys() and all(x[k].dtype == y[k].dtype and x[k].shape == y[k].shape for k in x)
        for x, y in zip(a.feeds, b.feeds, strict=True)
    )


def probe(session: Session, candidate: Candidate, setting: Setting, times: int) -> dict[str, Any] | None:
    """Load and run a model in processes of its own; what went wrong, if something did (its stage and its words)."""
    found = []
    for number in range(times):
        job = {
            "kind": "probe",
            "model": candidate.job(setting),
            "threads": setting.threads,
            "provider": setting.provider,
        }
        try:
            result = run_job(session.folder, f"probe{number}", job)
        except Crashed as crash:
            result = {"stage": "run", "error": crash.message}
        if "error" in result:
            return result
        found.append(result)
    candidate.probes[setting] = found
    return None
