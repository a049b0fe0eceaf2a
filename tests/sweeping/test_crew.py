"""`shrink` and `compress` with a Dask cluster: two workers, processes of this machine, with folders of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image
from sweep_support import Cluster, cluster

import onnxprune
from onnxprune.api.helped import helped
from onnxprune.errors import ClusterError, UsageError
from onnxprune.options.shrinking import ShrinkOptions
from onnxprune.results import Progress
from onnxprune.results.clock import Clock
from onnxprune.sweeping import cluster as room
from onnxprune.sweeping import servers
from onnxprune.sweeping.remote import OPERATORS
from tests.builders import Net
from tests.choose.blocks.networks import PADS, block
from tests.processes import running
from tests.small import small_network

WORKER = servers.MODULE
SHRINK: dict[str, Any] = {"target": "macs=60%", "multiple_of": 1, "effort": 0.05, "bench": False}
BLOCKS: dict[str, Any] = {"units": "blocks", "ratio": 0.5, "effort": 0.05, "bench": False}


def networks(folder: Path) -> None:
    """A network whose channels leave, and one with six blocks."""
    small_network(folder / "small.onnx")
    net = Net()
    x = net.relu(net.stem())
    for name in ("one", "two", "three", "four", "five", "six"):
        x = net.relu(block(net, x, name))
    net.head(net.relu(net.conv(x, 8, 3, pads=PADS)))
    onnx.save(net.model(), str(folder / "blocks.onnx"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of a test: two networks, samples in a file, and as images."""
    networks(tmp_path)
    rng = np.random.default_rng(3)
    np.savez(tmp_path / "d.npz", image=rng.standard_normal((1500, 1, 8, 8)).astype(np.float32))
    np.savez(tmp_path / "b.npz", x1=rng.standard_normal((60, 3, 6, 6)).astype(np.float32))
    (tmp_path / "images").mkdir()
    for number in range(150):
        Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).save(tmp_path / "images" / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Told:
    """What a run says; `at` a word something else is done, once."""

    def __init__(self, at: str = "", then: Callable[[], None] = lambda: None) -> None:
        self.facts: list[str] = []
        self._at, self._then = at, then

    def __call__(self, progress: Progress) -> None:
        self.facts += [text for text in (progress.fact, progress.message) if text]
        if self._at and any(self._at in text for text in (progress.fact, progress.message)):
            self._at = ""
            self._then()

    def count(self, word: str) -> int:
        return len({fact for fact in self.facts if word in fact})


def left(found: Cluster) -> list[Path]:
    """Files of parts that workers still have."""
    return [path for path in found.folder.glob("local*/**/*.npz") if path.is_file()]


def inputs(model: str) -> str:
    return {"small.onnx": "d.npz", "blocks.onnx": "b.npz"}[model]


def test_two_workers_do_what_this_machine_does(folder: Path) -> None:
    """Bit for bit: shards of samples, trials of groups, trials of blocks. Nothing is left behind."""
    with cluster(folder / "c") as found:
        cases = {"small.onnx": (SHRINK, "of the samples captured", 8), "blocks.onnx": (BLOCKS, "blocks tried", 6)}
        for model, (options, word, parts) in cases.items():
            here = onnxprune.shrink(model, "here.onnx", data=inputs(model), **options, force=True)
            told = Told()
            far = {"scheduler": found.address, "progress": told, "force": True}
            there = onnxprune.shrink(model, "there.onnx", data=inputs(model), **options, **far)
            assert told.count(word) == parts and told.count("2 workers of tcp://") == 1
            assert Path("there.onnx").read_bytes() == Path("here.onnx").read_bytes()
            assert (there.plan.digest, there.notes, there.curves) == (here.plan.digest, here.notes, here.curves)
        assert left(found) == [] and not list(folder.glob("*.onnxprune-run"))


def test_samples_are_sent_as_the_network_is_fed_them(folder: Path) -> None:
    """Images of a folder, prepared; the metric of compress, and its cuts."""
    images = {"data": "images", "preprocess": "scale=1/255,mean=0.5,std=0.5,layout=nchw", "samples": 100}
    images |= {"target": "size=70%", "without": ["int8"], "effort": 0.02, "bench": False}
    with cluster(folder / "c") as found:
        onnxprune.compress("small.onnx", "here.onnx", **images)
        told = Told()
        onnxprune.compress("small.onnx", "there.onnx", **images, scheduler=found.address, progress=told)
    assert told.count("blocks tried") == 1
    assert Path("there.onnx").read_bytes() == Path("here.onnx").read_bytes()


def test_a_lost_worker_and_one_that_comes_late(folder: Path) -> None:
    """The only worker dies in the middle; another one, which has no files yet, computes the rest."""
    running(WORKER)
    with cluster(folder / "c", workers=1) as found:
        orphans: list[int] = []

        def replace() -> None:
            first = found.worker(0).pid
            orphans.extend(pid for pid, parent in running(WORKER).items() if parent == first)
            found.start_worker()
            found.worker(0).kill()

        told = Told("1 of 6 blocks", replace)
        onnxprune.shrink("blocks.onnx", "there.onnx", data="b.npz", **BLOCKS, scheduler=found.address, progress=told)
        assert orphans and told.count("blocks tried by workers") == 6
        while set(orphans) & set(running(WORKER)):  # what the dead one had started ends by itself
            time.sleep(0.02)
    onnxprune.shrink("blocks.onnx", "here.onnx", data="b.npz", **BLOCKS)
    assert Path("there.onnx").read_bytes() == Path("here.onnx").read_bytes()


def test_a_run_goes_on_without_the_cluster_that_was_lost(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What workers found stays in the folder beside the output; the same command needs no cluster."""
    monkeypatch.setattr(room, "CONNECT_S", 5)  # as long as it tries again
    kept = folder / "out.onnx.onnxprune-run"
    with cluster(folder / "c", workers=1) as found:
        told = Told("2 of 6 blocks", lambda: found.processes[0].kill())
        with pytest.raises(ClusterError, match="the cluster failed") as error:
            onnxprune.shrink("blocks.onnx", "out.onnx", data="b.npz", **BLOCKS, scheduler=found.address, progress=told)
    assert "the same command goes on there" in str(error.value)
    assert len(list(kept.glob("*.npz"))) >= 2 and not (folder / "out.onnx").exists()
    told = Told()
    onnxprune.shrink("blocks.onnx", "out.onnx", data="b.npz", **BLOCKS, progress=told)
    assert told.count("goes on with what an earlier run found") == 1 and not kept.exists()
    onnxprune.shrink("blocks.onnx", "here.onnx", data="b.npz", **BLOCKS)
    assert (folder / "out.onnx").read_bytes() == (folder / "here.onnx").read_bytes()


def test_what_a_worker_cannot_do_is_done_here(folder: Path) -> None:
    """Its processes end at their start."""
    (folder / "broken").mkdir()
    code = f"import os, sys\nif {WORKER!r} in sys.orig_argv:\n    os._exit(9)\n"
    (folder / "broken" / "sitecustomize.py").write_text(code)
    with cluster(folder / "c", workers=0) as found:
        found.start_worker(folder / "broken")
        there = onnxprune.shrink("blocks.onnx", "there.onnx", data="b.npz", **BLOCKS, scheduler=found.address)
    onnxprune.shrink("blocks.onnx", "here.onnx", data="b.npz", **BLOCKS)
    assert Path("there.onnx").read_bytes() == Path("here.onnx").read_bytes()
    assert any("--scheduler had no effect" in note for note in there.notes)


def test_processors_of_another_kind_are_refused(folder: Path) -> None:
    with cluster(folder / "c", workers=1) as found, room.connected(found.address) as client:
        wanted = room.expected((*room.SAME, room.PROCESSOR))
        room.check_versions(client, wanted)
        with pytest.raises(ClusterError, match=r"has processor .*, here other") as error:
            room.check_versions(client, wanted | {room.PROCESSOR: "other"})
        assert "take workers of one kind" in str(error.value)
        there = room.expected((OPERATORS,))[OPERATORS]
        with pytest.raises(ClusterError, match="onnxprune's operators") as error:
            room.check_versions(client, {OPERATORS: None if there else "there"})
        assert "install the same versions" in str(error.value)


def test_addresses_and_options_that_are_wrong(folder: Path) -> None:
    """Nothing is written."""
    before = sorted(folder.iterdir())
    lines = (
        "from onnxprune.cli.main import main",
        "from onnxprune.sweeping import cluster",
        "cluster.CONNECT_S = 0.2",
        "main()",
    )
    arguments = ["shrink", "small.onnx", "-o", "o.onnx", "--data", "d.npz", "--scheduler", "tcp://127.0.0.1:1"]
    command = [sys.executable, "-c", "\n".join(lines), *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ.copy())
    assert result.returncode == 3 and "no Dask scheduler answers at 'tcp://127.0.0.1:1'" in result.stderr
    with pytest.raises(UsageError, match="no effect without"):
        onnxprune.shrink("small.onnx", "o.onnx", ratio=0.5, scheduler="tcp://127.0.0.1:1")
    options = ShrinkOptions(data="d.npz", scheduler="tcp://127.0.0.1:1", provider="cuda")
    with pytest.raises(UsageError, match="exclude each other"), helped(options, Clock(None)):
        pass
    assert sorted(folder.iterdir()) == before


def test_a_run_that_workers_cannot_help_says_so(folder: Path) -> None:
    with cluster(folder / "c", workers=1) as found:
        options = {"data": "d.npz", "ratio": 0.3, "criterion": "l1", "bench": False, "repair": "least-squares"}
        result = onnxprune.shrink("small.onnx", "o.onnx", **options, scheduler=found.address)
    assert any(note.startswith("--scheduler had no effect") for note in result.notes)
