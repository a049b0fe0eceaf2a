"""The program as a process: streams, signals, locale, interpreter options, imports."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cli_support import Spawn

from tests.processes import wait_for_child

HEAVY = ("numpy", "onnx", "onnxruntime", "rich", "scipy", "google", "onnx_graphsurgeon", "importlib.metadata")
_IMPORTS = """
import sys
from onnxprune.cli.main import application
try:
    application.main(sys.argv[1:])
finally:
    print(sorted(set(sys.modules)), file=sys.stderr)
"""


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["shrink", "--help"], ["nonsense"], ["completion", "zsh"]]
)
def test_nothing_heavy_is_imported_for_help(folder: Path, arguments: list[str]) -> None:
    command = [sys.executable, "-c", _IMPORTS, *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    modules = result.stderr.splitlines()[-1]
    assert not [name for name in HEAVY if f"'{name}'" in modules]


def test_streams_are_kept_apart(spawn: Spawn) -> None:
    good = spawn("shrink", "digits.onnx", "--format", "json")
    assert json.loads(good.stdout)["schema"] == "onnxprune.shrink/1" and good.stderr == ""
    bad = spawn("shrink", "digits.onnx", "--format", "json", code=2)
    assert json.loads(bad.stdout)["error"]["exit_code"] == 2 and bad.stderr.startswith("Error: ")
    assert spawn("shrink", "digits.onnx", code=2).stdout == ""


@pytest.mark.parametrize("python", [("-W", "error"), ("-O",)])
def test_interpreter_options(spawn: Spawn, python: tuple[str, ...]) -> None:
    assert "wrote small.onnx" in spawn("shrink", "digits.onnx", "-o", "small.onnx", python=python).stdout
    assert "verified" in spawn("verify", "digits.onnx", "small.onnx", python=python).stdout
    assert spawn("env", "--format", "json", python=python).stderr == ""


@pytest.mark.parametrize("locale", [{"LANG": "C", "LC_ALL": "C"}, {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}])
def test_locales(spawn: Spawn, folder: Path, locale: dict[str, str]) -> None:
    (folder / "digits.onnx").rename(folder / "zähler 数.onnx")
    out = spawn("inspect", "zähler 数.onnx", env=locale).stdout
    assert out.startswith(("zähler 数.onnx  227 k", "z\\xe4hler \\u6570.onnx  227 k"))
    assert "no such file" in spawn("inspect", "nö.onnx", env=locale, code=2).stderr


def test_nobody_reads(spawn: Spawn) -> None:
    """A closed pipe is no failure, and no reason for a traceback."""
    for arguments in (("inspect", "digits.onnx"), ("--help",), ("env", "--format", "json")):
        reader, writer = os.pipe()
        os.close(reader)
        result = spawn(*arguments, stdout=writer)
        os.close(writer)
        assert result.stderr == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_stdout(spawn: Spawn) -> None:
    with open("/dev/full", "w") as full:
        result = spawn("inspect", "digits.onnx", stdout=full, code=2)
    assert result.stderr == "Error: cannot write to standard output: No space left on device\n"


def test_closed_streams(folder: Path) -> None:
    script = f"'{sys.executable}' -m onnxprune shrink digits.onnx --dry-run >&- 2>&- <&-"
    assert subprocess.run(["/bin/sh", "-c", script], check=False).returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_leave_nothing_behind(folder: Path, number: signal.Signals) -> None:
    """The process is stopped where it stays longest: while the models run."""
    process = subprocess.Popen(
        [sys.executable, "-m", "onnxprune", "shrink", "digits.onnx", "--no-bench"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for_child("onnxprune.proof.worker", process)
    process.send_signal(number)
    out, err = process.communicate()
    assert process.returncode == 130
    assert out == "" and err.endswith("Interrupted.\n") and "Traceback" not in err
    assert [path.name for path in folder.iterdir()] == ["digits.onnx"]


_INTERRUPTED_IMPORT = """
import os, signal, sys
from onnxprune.cli.main import application

class Numpy:  # at its first import comes Ctrl-C; afterwards it cannot be imported, as numpy itself puts it
    asked = 0
    def find_spec(self, name, path=None, target=None):
        if name != "numpy":
            return None
        self.asked += 1
        if self.asked == 1:
            os.kill(os.getpid(), signal.SIGINT)
        raise ImportError("cannot load module more than once per process")

sys.meta_path.insert(0, Numpy())
application.main(sys.argv[1:])
"""


def test_interrupt_in_an_import_is_a_document(folder: Path) -> None:
    command = [sys.executable, "-c", _INTERRUPTED_IMPORT, "pack", "digits.onnx", "--format", "json"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (130, "Interrupted.\n")
    assert json.loads(result.stdout)["error"]["type"] == "Interrupted"


def _terminal(arguments: list[str], **environment: str) -> str:
    """What a terminal of 100 columns shows."""
    parent, child = pty.openpty()
    command = [sys.executable, "-m", "onnxprune", *arguments]
    env = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", **environment}
    process = subprocess.Popen(command, stdin=child, stdout=child, stderr=child, env=env)
    os.close(child)
    shown = b""
    while True:
        try:
            piece = os.read(parent, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        shown += piece
    os.close(parent)
    assert process.wait() == 0
    return shown.decode()


def test_terminals(folder: Path) -> None:
    """Progress and colours on a terminal; no colours with NO_COLOR; neither on a dumb one, nor with -q."""
    assert "\x1b[1mdigits.onnx" in _terminal(["shrink", "digits.onnx", "--dry-run"])
    plain = _terminal(["shrink", "digits.onnx", "--dry-run"], TERM="dumb")
    assert "\x1b" not in plain and "tracing" not in plain
    assert "\x1b[2K" not in _terminal(["-q", "shrink", "digits.onnx", "--dry-run"])
    assert "\x1b[3" not in _terminal(["inspect", "digits.onnx"], NO_COLOR="1"), "no colour"


def test_nothing_is_left_and_nothing_reported(spawn: Spawn, folder: Path) -> None:
    """No file but the result: not in the temporary folder, nor in the home of ONNX Runtime's telemetry."""
    home = folder / "home"
    home.mkdir()
    env = {"HOME": str(home), "XDG_CACHE_HOME": str(home), "ORT_DISABLE_TELEMETRY": "0"}
    spawn("shrink", "digits.onnx", env=env)
    spawn("env", env=env)
    assert list(home.rglob("*")) == []
    assert {path.name for path in folder.iterdir()} == {"digits.onnx", "digits.pruned.onnx", "home"}


def test_the_working_directory_may_be_gone(folder: Path) -> None:
    gone = folder / "gone"
    gone.mkdir()
    script = f"cd '{gone}' && rmdir '{gone}' && '{sys.executable}' -m onnxprune inspect '{folder}/digits.onnx'"
    result = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
