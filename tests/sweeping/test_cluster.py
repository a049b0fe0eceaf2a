"""A sweep on a Dask cluster: two workers, processes of this machine, with folders of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from sweep_support import MANY, Cluster, cluster, computing, small_data, small_model

import onnxprune
from onnxprune.errors import ClusterError
from onnxprune.sweeping import cluster as room
from onnxprune.sweeping.results import FINISHED

OPTIONS: dict[str, Any] = {"data": "d.npz", "repair": "least-squares", "bench": False}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of a test, with a small model, whose weights are in a file of their own, and its data."""
    small_model(tmp_path / "m.onnx", weights_beside=True)
    small_data(tmp_path / "d.npz")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def models(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.onnx*"))}


def shipped(cluster: Cluster) -> dict[Path, int]:
    """The files that workers have been sent, and when."""
    found = cluster.folder.glob("local*/**/onnxprune-sweep/**/*")
    return {path: path.stat().st_mtime_ns for path in found if path.is_file()}


def test_two_workers_do_what_this_machine_does(folder: Path) -> None:
    """Bit for bit. A second sweep with the same files does not send them again; one that is finished needs nobody."""
    here = onnxprune.sweep("m.onnx", "here", ratios="0.25,0.5", external_data="always", **OPTIONS)
    with cluster(folder / "c") as found:
        far = {"scheduler": found.address, "external_data": "always", **OPTIONS}
        there = onnxprune.sweep("m.onnx", "there", ratios="0.25,0.5", **far)
        assert there.where == f"2 workers of {found.address}, 2 points at a time"
        assert [one.outcome.status for one in there.points] == [FINISHED] * 2
        assert models(folder / "there") == models(folder / "here") and len(models(folder / "here")) == 4
        for a, b in zip(here.points, there.points, strict=True):
            assert (a.outcome.model, a.outcome.agreement, a.outcome.error) == (
                *(b.outcome.model, b.outcome.agreement, b.outcome.error),
            )
        sent = shipped(found)
        assert {path.name for path in sent} == {"m.onnx", "m.onnx.data", "samples"} and len(sent) == 6
        onnxprune.sweep("m.onnx", "there", ratios="0.25,0.4,0.5", jobs=1, **far)
        assert shipped(found) == sent
        assert len(models(folder / "there")) == 6
    again = onnxprune.sweep("m.onnx", "there", ratios="0.25,0.5", **far)
    assert all(point.reused for point in again.points) and not list((folder / "there").glob(".work*"))


def test_a_lost_worker_and_one_that_comes_late(folder: Path) -> None:
    """The only worker dies with a point; another one, which has no files yet, computes that and the rest."""
    with cluster(folder / "c", workers=1) as found:

        def replace() -> None:
            first = found.worker(0).pid
            while first not in computing().values():
                time.sleep(0.01)
            orphans.extend(pid for pid, parent in computing().items() if parent == first)
            found.start_worker()
            found.worker(0).kill()

        computing()
        orphans: list[int] = []
        thread = threading.Thread(target=replace)
        thread.start()
        result = onnxprune.sweep("m.onnx", "s", ratios="0.25,0.5", scheduler=found.address, **OPTIONS)
        thread.join()
        assert orphans and [point.outcome.status for point in result.points] == [FINISHED] * 2
        while set(orphans) & set(computing()):  # what the dead one had started ends by itself
            time.sleep(0.02)
    here = onnxprune.sweep("m.onnx", "here", ratios="0.25,0.5", **OPTIONS)
    assert models(folder / "s") == models(folder / "here") and len(here.finished) == 2


def test_an_interrupt_stops_the_workers(folder: Path) -> None:
    """What is finished stays; nobody computes for nobody; the cluster can be used again."""
    with cluster(folder / "c", workers=1) as found:
        ratios = ",".join(map(str, MANY))
        command = ["sweep", "m.onnx", "-o", "s", "--ratios", ratios, "--repair", "bias", "--no-bench"]
        process = subprocess.Popen(
            [sys.executable, "-m", "onnxprune", *command, "--scheduler", found.address],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        while not list((folder / "s").glob("ratio-*.json")) or found.worker(0).pid not in computing().values():
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
        assert process.returncode == 130 and errors.endswith(b"Interrupted.\n"), errors
        while found.worker(0).pid in computing().values():
            time.sleep(0.02)
        done = len(list((folder / "s").glob("ratio-*.json")))
        assert 1 <= done < len(MANY)
        count = done + 1  # one worker: the first are done
        rest = onnxprune.sweep("m.onnx", "s", ratios=MANY[:count], repair="bias", bench=False, scheduler=found.address)
        assert sum(point.reused for point in rest.points) == done and len(rest.finished) == count


def test_workers_with_other_versions_are_refused(folder: Path) -> None:
    """A worker that finds another scipy, as far as packages say of themselves."""
    other = folder / "other" / "scipy-0.1.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: scipy\nVersion: 0.1\n")
    with cluster(folder / "c", workers=0) as found:
        found.start_worker(other.parent)
        with pytest.raises(ClusterError, match=r"worker tcp://.* has scipy 0\.1, here"):
            onnxprune.sweep("m.onnx", "s", ratios="0.5", scheduler=found.address, **OPTIONS)
        assert not (folder / "s").exists()


def test_a_cluster_without_workers_or_scheduler(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "WORKERS_S", 0.2)
    with cluster(folder / "c", workers=0) as found, pytest.raises(ClusterError, match="has no workers"):
        onnxprune.sweep("m.onnx", "s", ratios="0.5", scheduler=found.address, **OPTIONS)
    monkeypatch.setattr(room, "CONNECT_S", 0.2)
    with pytest.raises(ClusterError, match="no Dask scheduler answers"):
        onnxprune.sweep("m.onnx", "s", ratios="0.5", scheduler=found.address, **OPTIONS)


def test_what_is_finished_stays_if_the_scheduler_is_lost(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "CONNECT_S", 5)  # as long as it tries again
    with cluster(folder / "c", workers=1) as found:

        def kill() -> None:
            while not list((folder / "s").glob("ratio-*.json")):
                time.sleep(0.01)
            found.processes[0].kill()

        thread = threading.Thread(target=kill)
        thread.start()
        with pytest.raises(ClusterError, match="the cluster failed") as error:
            onnxprune.sweep("m.onnx", "s", ratios=MANY, scheduler=found.address, **OPTIONS)
        thread.join()
    assert "start the same command again" in str(error.value)
    done = len(list((folder / "s").glob("ratio-*.json")))
    assert 1 <= done < len(MANY) and len(models(folder / "s")) == done and not list((folder / "s").glob(".work*"))


def test_files_are_sent_by_the_names_that_the_model_uses(folder: Path) -> None:
    """Weights behind a symbolic link, as in the caches of hubs: a worker finds them where the model says."""
    (folder / "blobs").mkdir()
    os.rename("m.onnx.data", "blobs/w")
    os.symlink("blobs/w", "m.onnx.data")
    sources = room.shipped(onnxprune.load("m.onnx"), Path("m.onnx"), None, None).sources
    assert {name: path.name for name, path in sources.items()} == {"model/m.onnx": "m.onnx", "model/m.onnx.data": "w"}
