"""What GitHub, pre-commit and MkDocs read: their files name commands, versions and pages that exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_readme import docs, script

ROOT = Path(__file__).resolve().parents[1]
JOBS = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))["jobs"]
hooks = script("site_hooks")


def site() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    return found


def pages(nav: Any) -> list[str]:
    """The files of a navigation, in order."""
    if isinstance(nav, str):
        return [nav]
    return [page for part in (nav.values() if isinstance(nav, dict) else nav) for page in pages(part)]


def test_the_workflow_runs_targets_that_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    steps = [step["run"] for job in JOBS.values() for step in job["steps"] if "run" in step]
    targets = {found[1] for run in steps if (found := re.fullmatch(r"make (\S+)", run))}
    assert targets == {"lint", "test", "wheels", "site"}
    assert all(re.search(rf"^{target}:", makefile, re.M) for target in targets)


def test_the_workflow_tests_the_versions_that_are_promised() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    promised = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', project)
    assert JOBS["test"]["strategy"]["matrix"]["python"] == promised
    systems = JOBS["elsewhere"]["strategy"]["matrix"]["os"]
    assert {re.split("[-.]", name)[0] for name in systems} == {"macos", "windows", "ubuntu"}
    assert any(name.endswith("-arm") for name in systems)


def test_actions_are_pinned_and_may_only_read() -> None:
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    uses = re.findall(r"uses: (\S+)", text)
    assert uses and all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", name) for name in uses)
    assert "permissions:\n  contents: read\n" in text


@pytest.mark.parametrize("path", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")), ids=lambda p: p.stem)
def test_templates_of_issues_can_be_read(path: Path) -> None:
    found = yaml.safe_load(path.read_text(encoding="utf-8"))
    if path.stem == "config":
        assert found["contact_links"]
        return
    assert {"name", "description", "body"} <= set(found)
    ids = [part["id"] for part in found["body"]]
    assert len(ids) == len(set(ids)) and any(part.get("validations", {}).get("required") for part in found["body"])


def test_hooks_of_contributors_are_what_lint_runs() -> None:
    found = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    entries = [hook["entry"] for repo in found["repos"] for hook in repo["hooks"]]
    assert "scripts/lint.py" in (ROOT / "Makefile").read_text(encoding="utf-8")
    lint = (ROOT / "scripts" / "lint.py").read_text(encoding="utf-8")
    for words in (["-m", "ruff", "check"], ["-m", "ruff", "format", "--check"], ["-m", "mypy"]):
        assert any(entry.startswith(f".venv/bin/python {' '.join(words)}") for entry in entries)
        assert str(words).strip("[]").replace("'", '"') in lint


def test_every_page_is_in_the_site_once() -> None:
    """But those that are history."""
    listed = pages(site()["nav"])
    there = {str(path.relative_to(docs.DOCS)) for path in docs.DOCS.rglob("*.md") if path.parent.name != "plans"}
    assert len(listed) == len(set(listed)) and set(listed) == there
    assert site()["strict"] is True


def test_links_out_of_the_pages_lead_to_the_repository() -> None:
    text = "[a](../README.md#commands) [b](sparse.md) [c](../examples/text.py) [d](https://x.y/../z)"
    assert hooks.outward(text, "sweep.md", "https://r/") == (
        "[a](https://r/README.md#commands) [b](sparse.md) [c](https://r/examples/text.py) [d](https://x.y/../z)"
    )
    inner = "[a](../sparse.md) [b](../../examples/text.py)"
    assert (
        hooks.outward(inner, "tutorials/text.md", "https://r/") == "[a](../sparse.md) [b](https://r/examples/text.py)"
    )
    with pytest.raises(ValueError, match="nothing/of/it"):
        hooks.outward("[a](../nothing/of/it)", "sweep.md", "https://r/")


def test_the_reference_names_everything_public_once() -> None:
    import onnxprune

    page = (docs.DOCS / "api.md").read_text(encoding="utf-8")
    named = re.findall(r"^::: onnxprune\.(\w+)$", hooks.referenced(page), re.M)
    assert len(named) == len(set(named)) and "errors" in named and "shrink" in named
    assert all(hasattr(onnxprune, name) for name in named)
    errors = {name for name in onnxprune.__all__ if hasattr(onnxprune.errors, name)}
    assert {*named} - {"errors"} == set(onnxprune.__all__) - errors - {"__version__"}
