"""docs/ci.md, action.yml and .pre-commit-hooks.yaml: their very commands are run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from click.testing import CliRunner
from test_readme import MEASURED, docs, stable

from onnxprune.checking.budgets import LIMITS
from onnxprune.cli.check import command
from onnxprune.cli.main import application

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
(HOOK,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
BESIDE = str(Path(sys.executable).parent)


def files(folder: Path) -> None:
    """The files that the page shows, and those that it speaks of."""
    shutil.copytree(ROOT / "models", folder / "models")
    for match in docs.FILE.finditer(PAGE):
        path = folder / match["name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(match["content"], encoding="utf-8")


def bash(script: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """A step as GitHub runs it."""
    path = os.pathsep.join([BESIDE, os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "NO_COLOR": "1", "GITHUB_ACTIONS": "true", **variables}
    shell = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
    return subprocess.run(shell, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def action(folder: Path, **inputs: str) -> subprocess.CompletedProcess[str]:
    """The last step of action.yml, with the onnxprune of these tests where the step before it would install one."""
    known = {name: entry["default"] for name, entry in ACTION["inputs"].items()}
    assert set(inputs) <= set(known)
    step = ACTION["runs"]["steps"][-1]
    temporary = folder / "with space"
    (temporary / "onnxprune" / "bin").mkdir(parents=True, exist_ok=True)
    program = temporary / "onnxprune" / "bin" / "onnxprune"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m onnxprune "$@"\n')
    program.chmod(0o755)
    values = {**known, **inputs}
    variables = {
        key: values[re.fullmatch(r"\$\{\{ inputs\.([\w-]+) \}\}", text)[1]] for key, text in step["env"].items()
    }  # type: ignore[index]
    return bash(step["run"], folder, RUNNER_TEMP=str(temporary), **variables)


def words(text: str) -> str:
    """Without what the machine and rounding decide."""
    return MEASURED.sub("#", stable(text))


def test_the_page_shows_what_its_commands_print(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If it should show something else now: make docs."""
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)
    found = docs.examples(PAGE)
    assert len(found) >= 7
    for example, printed in zip(found, docs.outputs(found, tmp_path), strict=True):
        assert words(printed) == words(example.output), example.command


def test_the_workflow_does_what_it_says(tmp_path: Path) -> None:
    """Its steps in order: what it runs is run, the action by its own script. Only what needs a network is not."""
    files(tmp_path)
    workflow = yaml.safe_load((tmp_path / ".github" / "workflows" / "models.yml").read_text(encoding="utf-8"))
    summary = tmp_path / "summary.md"
    done = []
    for step in workflow["jobs"]["compress"]["steps"]:
        if "run" in step and not step["run"].startswith("pip install"):
            done.append(bash(step["run"], tmp_path))
        elif step.get("uses", "").startswith("OWNER/onnxprune@"):
            done.append(action(tmp_path, **step["with"]))
            more = {**step["with"], "models": "small.onnx\nmodels/digits.onnx\n"}
            more["arguments"] = "--max-size=0.5MB\n--only=size\n"
            failed = action(tmp_path, **more)
    assert [one.returncode for one in done] == [0, 0], [one.stderr for one in done]
    assert "passed: 7 budgets of 2 models" in done[1].stdout and not summary.exists()
    uploaded = workflow["jobs"]["compress"]["steps"][-1]["with"]["path"].split()
    assert all((tmp_path / name).exists() for name in uploaded)
    suites = ElementTree.parse(tmp_path / "report.xml").getroot()
    assert (suites.get("tests"), suites.get("failures")) == ("7", "0")
    assert failed.returncode == 1 and "::error file=models/digits.onnx,title=onnxprune%3A file size::" in failed.stderr
    assert "::error file=small.onnx" not in failed.stderr


def test_inputs_of_the_action_are_never_part_of_a_script(tmp_path: Path) -> None:
    for step in ACTION["runs"]["steps"]:
        assert "${{" not in step.get("run", ""), step["name"]
        assert "uses" not in step or re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", step["uses"]), "pinned to a commit"
    hostile = '$(touch "bad1") `touch bad2`; touch bad3 #\n--junit=bad4'
    done = action(tmp_path, models=hostile, arguments="--max-size=1MB\n")
    assert done.returncode == 2 and "no such file" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["with space"]


def test_the_action_without_inputs_checks_what_is_configured(tmp_path: Path) -> None:
    shutil.copy(ROOT / "models" / "digits.onnx", tmp_path)
    (tmp_path / "onnxprune.toml").write_text("[[check.models]]\npath = 'digits.onnx'\nmax-size = '1MB'\n")
    done = action(tmp_path, **{"python-version": "3.12"})
    assert done.returncode == 0 and done.stdout.startswith("passed  digits.onnx")


def test_the_hook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its command, on budgets that need time and a metric besides: these are not for a commit."""
    files(tmp_path)
    shutil.copy(ROOT / "models" / "digits.onnx", tmp_path / "small.onnx")
    monkeypatch.chdir(tmp_path)
    program, *rest = [*HOOK["entry"].split(), *HOOK["args"]]
    assert program == "onnxprune" and HOOK["pass_filenames"] is False and HOOK["language"] == "python"
    result = CliRunner().invoke(application, rest)
    assert result.exit_code == 1 and "latency" not in result.stdout and "small.onnx: file size" in result.stderr
    wanted = re.compile(HOOK["files"])
    assert all(wanted.search(name) for name in ("m.onnx", "a/m.onnx.data", "pyproject.toml", "a/onnxprune.toml"))
    assert not any(wanted.search(name) for name in ("m.onnx.py", "README.md", "mypyproject.toml"))
    shown: Any = yaml.safe_load((tmp_path / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert shown["repos"][0]["hooks"] == [{"id": HOOK["id"]}]


def test_the_page_names_all_that_there_is() -> None:
    for key in LIMITS:
        assert f"`{key.replace('_', '-')}`" in PAGE, key
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", PAGE.replace("onnxprune -q shrink", "")))
    known = {option for parameter in command.params for option in parameter.opts}
    assert named - known == {"--target", "--repair"}, "those of shrink"
    assert set(re.findall(r"`([a-z-]+)`", PAGE.split("Inputs:")[1].split("Whether")[0])) == set(ACTION["inputs"])
    for target in re.findall(r"\]\(([^)#]+)", PAGE):
        assert (ROOT / "docs" / target).exists(), target
