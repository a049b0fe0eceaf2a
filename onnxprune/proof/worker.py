"""Runs models in a process of its own, so that a crash of the runtime becomes a message.

python -m onnxprune.proof.worker JOB.json   reads the job, writes JOB.json.result and the outputs, a file a feed.
python -m onnxprune.proof.worker --serve    forks one such process for every job that it is told (nursery.py).
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

from onnxprune.capture.operators import equip
from onnxprune.proof.onnx_checks import refusals
from onnxprune.proof.scratch import append, load


def _session(task: dict[str, Any], threads: int) -> Any:
    import onnxruntime

    path = task["model"]
    options = onnxruntime.SessionOptions()
    if task.get("precise", True):
        # without it, sums of bytes saturate on x86 processors without VNNI: what a model means is to be compared
        options.add_session_config_entry("session.x64quantprecision", "1")
    if task.get("frugal", False):  # packed copies of the weights would double what a large model takes
        options.add_session_config_entry("session.disable_prepacking", "1")
    if not task.get("optimise", True):
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if task.get("library", True):
        equip(options, Path(path))
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _run(job: dict[str, Any]) -> dict[str, Any]:
    """Every model of the job on every one of its feeds; outputs go to files, failures are kept as text."""
    result: dict[str, Any] = {"runs": []}
    for task in job["tasks"]:
        entry: dict[str, Any] = {"name": task["name"], "cases": []}
        result["runs"].append(entry)
        if task.get("check"):
            entry["refused"] = refusals(task["check"])
        try:
            session = _session(task, job["threads"])
        except Exception as error:  # onnxruntime raises many types
            entry["load"] = str(error)[:2000]
            continue
        names = [o.name for o in session.get_outputs()]
        masks = _Masks(task.get("masks", []))
        for number, feed_path in enumerate(task["feeds"]):
            feed = load(feed_path)
            if number and task.get("fresh", False):  # its generators begin anew: see model/random.py
                session = _session(task, job["threads"])
            try:
                outputs = session.run(None, {**feed, **masks.of(number)})
            except Exception as error:  # as above
                entry["cases"].append({"error": str(error)[:2000]})
                continue
            places = append(Path(f"{task['out']}.{number}"), outputs)
            entry["cases"].append({"names": names, "places": places})
        del session
    return result


class _Masks:
    """What is fed besides the inputs. Most runs have the same, but for a few arrays."""

    def __init__(self, files: list[list[str]]) -> None:
        self._files, self._first = files, ""
        self._known: dict[str, Any] = {}

    def of(self, number: int) -> dict[str, Any]:
        if not self._files:
            return {}
        first, *others = self._files[number]
        if first != self._first:
            self._first, self._known = first, load(first)
        found = dict(self._known)
        for file in others:
            found |= load(file)
        return found


def work(path: Path) -> None:
    """One job."""
    job = json.loads(path.read_text())
    result = _run(job)
    path.with_suffix(".result").write_text(json.dumps(result))


def serve() -> None:
    """A job a line on stdin, {job, folder, errors, variables}: each is done by a forked child, whose pid and status are
    answered.

    Nothing but imports happens before a fork.
    """
    import onnxruntime  # noqa: F401

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of Ctrl-C the process hears that asked: it says who is to end
    with open(0, "rb", buffering=0) as asked:
        for line in iter(asked.readline, b""):
            alive, held = os.pipe()  # the worker holds it: it ends when that one does
            pid = os.fork()
            if not pid:
                os.close(alive)
                _child(json.loads(line))
            os.close(held)
            _answer(pid)
            if (
                asked.fileno() in select.select([asked.fileno(), alive], [], [])[0]
            ):  # nobody waits any more: who asked has ended
                os.kill(pid, signal.SIGKILL)
            status = os.waitpid(pid, 0)[1]
            os.close(alive)
            _answer(os.waitstatus_to_exitcode(status))


def _answer(number: int) -> None:
    sys.stdout.buffer.write(f"{number}\n".encode())
    sys.stdout.buffer.flush()


def _child(request: dict[str, Any]) -> None:
    """As a process of its own would: nothing to read, nowhere to print, errors in a file; `variables` in its
    environment.
    """
    code = 1
    try:
        os.environ.update(request["variables"])
        nothing = os.open(os.devnull, os.O_RDWR)
        errors = os.open(request["errors"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.chdir(request["folder"])
        for target, source in ((0, nothing), (1, nothing), (2, errors)):
            os.dup2(source, target)
        work(Path(request["job"]))
        code = 0
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def main() -> None:
    if sys.argv[1] == "--serve":
        serve()
    else:
        work(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
