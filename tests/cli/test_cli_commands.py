"""What each command prints, on the real model."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from cli_support import Call, Document
from onnx import TensorProto, helper, numpy_helper

import onnxprune
from onnxprune.cli.main import COMMANDS
from onnxprune.cut.plan import read


def _save(path: Path, nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray]) -> None:
    """A model x (1, 3, 8, 8) -> y."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("acme", 1)], ir_version=8
    )
    onnx.save(onnx.shape_inference.infer_shapes(model), path)


def _one_conv(path: Path, name: str = "only", bias: float = 0.0) -> None:
    """Nothing can leave: the only layer makes the output."""
    weights = {"w": np.ones((4, 3, 1, 1), np.float32), "b": np.full(4, bias, np.float32)}
    _save(path, [helper.make_node("Conv", ["x", "w", "b"], ["y"], name=name)], weights)


# ---- shrink ------------------------------------------------------------------------------------------------------
def test_shrink_writes_beside_the_model_and_says_so(call: Call, folder: Path) -> None:
    before = hashlib.sha256((folder / "digits.onnx").read_bytes()).digest()
    out = call("shrink", "digits.onnx").stdout
    assert (folder / "digits.pruned.onnx").is_file()
    assert hashlib.sha256((folder / "digits.onnx").read_bytes()).digest() == before
    lines = out.splitlines()
    assert lines[0].startswith("digits.onnx  227 k params  916 kB  5.56 MMACs  opset 17")
    assert [line.split()[0] for line in lines[1:5]] == ["traced", "planned", "repaired", "verified"]
    assert all(line.endswith(("ms", " s")) for line in lines[1:5])
    table = {line.split()[0]: line.split()[-2] for line in lines if line.strip().endswith("%")}
    assert set(table) == {"parameters", "file", "MACs"}
    assert all(int(change) < -60 for change in table.values())
    assert lines[-2].startswith("wrote digits.pruned.onnx     plan ")


def test_shrink_again_needs_force(call: Call) -> None:
    call("shrink", "digits.onnx")
    failed = call("shrink", "digits.onnx", code=2)
    assert failed.stdout == ""
    assert failed.stderr == "Error: the output 'digits.pruned.onnx' exists\n  Use --force to replace it.\n"
    call("shrink", "digits.onnx", "--force")


def test_shrink_never_writes_over_the_input(call: Call, folder: Path) -> None:
    before = (folder / "digits.onnx").read_bytes()
    assert "input" in call("shrink", "digits.onnx", "-o", "digits.onnx", "--force", code=2).stderr
    (folder / "link.onnx").symlink_to("digits.onnx")
    call("shrink", "digits.onnx", "-o", "link.onnx", "--force", code=2)
    assert (folder / "digits.onnx").read_bytes() == before


def test_dry_run_writes_nothing(call: Call, folder: Path) -> None:
    out = call("shrink", "digits.onnx", "--dry-run").stdout
    assert "dry run: no model was written" in out
    assert "stem.conv" in out
    assert [path.name for path in folder.iterdir()] == ["digits.onnx"]


def test_a_saved_plan_gives_the_same_file(call: Call, folder: Path) -> None:
    planned = call("shrink", "digits.onnx", "--dry-run", "--save-plan", "p.json", "--criterion", "l2").stdout
    assert json.loads((folder / "p.json").read_text())["options"]["criterion"] == "l2"
    done = call("shrink", "digits.onnx", "--plan", "p.json").stdout
    assert "from the plan given" in done
    assert planned.split()[-1] == done.split()[-1], "the digest"
    call("shrink", "digits.onnx", "--criterion", "l2", "-o", "direct.onnx")
    assert (folder / "direct.onnx").read_bytes() == (folder / "digits.pruned.onnx").read_bytes()


def test_save_plan_spares_what_is_there(call: Call, folder: Path) -> None:
    (folder / "p.json").write_text("precious")
    call("shrink", "digits.onnx", "--save-plan", "p.json", code=2)
    assert (folder / "p.json").read_text() == "precious"
    assert not (folder / "digits.pruned.onnx").exists(), "found out before the model was written"
    for name in ("digits.onnx", "digits.pruned.onnx", "digits.pruned.onnx.data"):
        call("shrink", "digits.onnx", "--save-plan", name, "--force", code=2)
    call("shrink", "digits.onnx", "--save-plan", "p.json", "--force")
    assert json.loads((folder / "p.json").read_text())["version"] == 1
    assert {p.name for p in folder.iterdir()} == {"digits.onnx", "digits.pruned.onnx", "p.json"}


def test_a_plan_excludes_options_that_choose(call: Call, folder: Path) -> None:
    call("shrink", "digits.onnx", "--dry-run", "--save-plan", "p.json")
    for option in (("--ratio", "0.2"), ("--exclude", "*"), ("--units", "heads")):
        assert (
            f"{option[0]} has no effect with --plan"
            in call("shrink", "digits.onnx", "--plan", "p.json", *option, code=2).stderr
        )


def test_a_plan_for_another_model(call: Call, folder: Path) -> None:
    call("shrink", "digits.onnx", "--dry-run", "--save-plan", "p.json")
    _one_conv(folder / "one.onnx")
    assert "another model" in call("shrink", "one.onnx", "--plan", "p.json", code=3).stderr
    (folder / "p.json").write_text("{")
    assert "not JSON" in call("shrink", "digits.onnx", "--plan", "p.json", code=3).stderr
    assert "does not exist" in call("shrink", "digits.onnx", "--plan", "q.json", code=2).stderr


def test_a_plan_that_is_none_is_said_in_words(call: Call, folder: Path) -> None:
    call("shrink", "digits.onnx", "--dry-run", "--save-plan", "p.json")
    plan = json.loads((folder / "p.json").read_text())

    def refused(**changed: Any) -> str:
        (folder / "q.json").write_text(json.dumps({**plan, **changed}))
        return call("shrink", "digits.onnx", "--plan", "q.json", "--dry-run", code=3).stderr

    assert "is not a valid plan: options must be an object, found a list" in refused(options=[1])
    assert "is not a valid plan: options must be an object, found a text" in refused(options="x")
    steps = refused(options={**plan["options"], "steps": "two"})
    assert "q.json is not a valid plan: options.steps must be a whole number or null, found a text" in steps
    assert "is not a valid plan: units must be a text, found a number" in refused(units=3)
    assert "is not a valid plan: groups must be a list, found a number" in refused(groups=3)
    assert "is not a valid plan: a group must be an object, found null" in refused(groups=[None])
    assert "is not a valid plan: 'removed' is missing" in refused(groups=[{"name": "a", "size": 3}])
    assert "is not a valid plan: sparsity must be an object, found true or false" in refused(sparsity=True)
    (folder / "q.json").write_text("[1]")
    assert (
        "is not a plan: an object is expected, found a list"
        in call("shrink", "digits.onnx", "--plan", "q.json", code=3).stderr
    )
    (folder / "q.json").write_text(json.dumps({**plan, "options": {**plan["options"], "of a newer version": 1}}))
    call("shrink", "digits.onnx", "--plan", "q.json", "--dry-run")


def test_the_page_of_a_plan_names_its_file(call: Call, folder: Path) -> None:
    call("shrink", "digits.onnx", "--dry-run", "--save-plan", "p.json")
    call("shrink", "digits.onnx", "--plan", "p.json", "--report", "r.html")
    assert "onnxprune shrink digits.onnx --plan p.json\n" in (folder / "r.html").read_text()
    plan = read(folder / "p.json")
    assert plan == replace(plan, path=None) and "path" not in plan.to_json()
    onnxprune.shrink(
        folder / "digits.onnx", folder / "o.onnx", plan=replace(plan, path=None), report=folder / "p.html", bench=False
    )
    assert f"--plan PLAN-{plan.digest}.json" in (folder / "p.html").read_text()


def test_nothing_prunable_is_not_a_failure(call: Call, document: Document, folder: Path) -> None:
    _one_conv(folder / "one.onnx")
    out = call("shrink", "one.onnx").stdout
    assert "nothing was removed, and no file written" in out
    assert "graph output" in out, "and why"
    assert document("shrink", "one.onnx")["written"] == []
    assert {p.name for p in folder.iterdir()} == {"digits.onnx", "one.onnx"}
    assert "nothing can be removed" in call("inspect", "one.onnx").stdout


def test_a_ratio_of_zero_removes_nothing(call: Call, folder: Path) -> None:
    assert "less than one channel" in call("shrink", "digits.onnx", "--ratio", "0").stdout
    assert not (folder / "digits.pruned.onnx").exists()


def test_quiet_and_verbose(call: Call) -> None:
    quiet = call("-q", "shrink", "digits.onnx", "--force")
    assert quiet.stdout.count("\n") == 2 and quiet.stdout.startswith("wrote ") and quiet.stderr == ""
    plain = call("shrink", "digits.onnx", "--force")
    assert plain.stderr == "" and "stem.conv" not in plain.stdout
    verbose = call("-v", "shrink", "digits.onnx", "--force")
    assert "verifying" in verbose.stderr and "stem.conv" in verbose.stdout
    assert "verifying" not in call("-v", "--log-level", "error", "shrink", "digits.onnx", "--force").stderr
    assert "exclude each other" in call("-q", "-v", "env", code=2).stderr


def test_markdown_has_tables(call: Call) -> None:
    out = call("shrink", "digits.onnx", "--format", "markdown").stdout
    assert out.startswith("## digits.onnx")
    assert "| parameters | 227 k |" in out
    assert "| --- | ---: | ---: | ---: |" in out


# ---- inspect -----------------------------------------------------------------------------------------------------
def test_inspect_overview(call: Call) -> None:
    out = call("inspect", "digits.onnx").stdout
    assert "10 groups: 9 prunable (624 channels), 1 stay" in out
    assert "mixed.pool_point.conv        48  mixed.pool_point.conv, depthwise.conv" in out
    assert "it belongs to a graph output" in out
    assert "--why NODE" in out


def test_inspect_groups_and_layers(call: Call, document: Document) -> None:
    assert "classifier" in call("inspect", "digits.onnx", "--groups").stdout
    layers = call("inspect", "digits.onnx", "--layers").stdout
    assert "1 x 48 x 8 x 8" in layers and "1.33 M" in layers
    assert "layers" not in document("inspect", "digits.onnx", "--groups")
    assert "groups" not in document("inspect", "digits.onnx", "--layers")
    both = document("inspect", "digits.onnx")
    assert len(both["groups"]) == 10 and len(both["layers"]) == 13
    assert "exclude each other" in call("inspect", "digits.onnx", "--groups", "--layers", code=2).stderr


def test_inspect_why(call: Call, document: Document) -> None:
    out = call("inspect", "digits.onnx", "--why", "classifier").stdout
    assert "The 160 channels of group 'pointwise.conv' can be removed." in out
    assert "The 10 channels of group 'classifier' cannot be removed: it belongs to a graph output" in out
    found = document("inspect", "digits.onnx", "--why", "classifier")
    assert [group["pinned"] is None for group in found["groups"]] == [True, False]
    error = call("inspect", "digits.onnx", "--why", "clasifier", code=2).stderr
    assert "Did you mean 'classifier'" in error


def test_inspect_names_operators_without_a_rule(call: Call, document: Document, folder: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["h"], name="first"),
        helper.make_node("Mystery", ["h"], ["i"], name="strange", domain="acme"),
        helper.make_node("Conv", ["i", "v"], ["y"], name="second"),
    ]
    weights = {"w": np.ones((4, 3, 1, 1), np.float32), "v": np.ones((2, 4, 1, 1), np.float32)}
    _save(folder / "m.onnx", nodes, weights)
    assert "operators without a rule (what touches them stays): acme:Mystery (1)" in call("inspect", "m.onnx").stdout
    assert document("inspect", "m.onnx")["operators_without_rule"] == [{"operator": "acme:Mystery", "nodes_count": 1}]
    assert "Mystery" in call("inspect", "m.onnx", "--why", "first").stdout


def test_names_in_a_model_cannot_act(call: Call, folder: Path) -> None:
    """A name with terminal escapes, line ends and markup is shown, and nothing else."""
    _one_conv(folder / "one.onnx", name="\x1b[2Jevil\n| [red]x[/red] | `y`")
    for form in ("text", "markdown"):
        for view in ("--groups", "--layers"):
            out = call("inspect", "one.onnx", view, "--format", form).stdout
            assert "\x1b" not in out and "\\x1b[2J" in out.replace("\\[", "[").replace("\\\\", "\\")
            assert "[red]x" in out.replace("\\[", "[").replace("\\]", "]")
    rows = call("inspect", "one.onnx", "--groups", "--format", "markdown").stdout.splitlines()
    cells = [line.replace("\\|", "").count("|") for line in rows if line.startswith("|")]
    assert len(set(cells)) == 1, "a | in a name does not make a cell"


# ---- verify, diff, env, completion ----------------------------------------------------------------------------------
def test_verify(call: Call, document: Document, folder: Path) -> None:
    digest = call("shrink", "digits.onnx", "-o", "small.onnx").stdout.split("plan ")[1].split()[0]
    out = call("verify", "digits.onnx", "small.onnx").stdout
    assert out.startswith(f"small.onnx is digits.onnx minus the channels of plan {digest}\n")
    assert "masked equivalence" in out and "tolerance" in out
    assert document("verify", "digits.onnx", "small.onnx")["plan"]["digest"] == digest
    call("verify", "digits.onnx", "digits.onnx", code=3)


def test_verify_finds_a_tampered_file(call: Call, document: Document, folder: Path) -> None:
    call("shrink", "digits.onnx", "-o", "small.onnx")
    model = onnx.load(folder / "small.onnx")
    model.graph.node[0].attribute.append(helper.make_attribute("auto_pad", "SAME_LOWER"))
    onnx.save(model, folder / "small.onnx")
    assert call("verify", "digits.onnx", "small.onnx", code=4).stdout == ""
    assert document("verify", "digits.onnx", "small.onnx", code=4)["error"]["type"] == "VerificationError"


def test_diff(call: Call, document: Document, folder: Path) -> None:
    assert "no difference" in call("diff", "digits.onnx", "digits.onnx").stdout
    _one_conv(folder / "a.onnx")
    _one_conv(folder / "b.onnx", bias=0.25)
    found = document("diff", "a.onnx", "b.onnx")
    assert not found["same"] and not found["nodes"] and not found["signature"] and not found["metadata"]
    assert found["tensors"] == [{"name": "b", "a_shape": [4], "b_shape": [4], "max_difference_absolute": 0.25}]
    _one_conv(folder / "c.onnx", name="other")
    assert [node["difference"] for node in document("diff", "a.onnx", "c.onnx")["nodes"]] == ["only in a", "only in b"]
    call("shrink", "digits.onnx", "--multiple-of", "4")
    out = call("diff", "digits.onnx", "digits.pruned.onnx").stdout
    assert "signature: 0 differences" in out
    assert "group 144 -> 72" in out
    assert "metadata 'onnxprune.plan': only in b" in out


def test_env(call: Call, document: Document) -> None:
    assert "onnxruntime" in call("env").stdout
    found = document("env")
    assert found["cores_count"] >= 1 and found["packages"]["onnx"]
    assert "CPUExecutionProvider" in found["providers"]
    sparse = found["sparse_operators"]
    assert (sparse["instruction_set"] is None) == (sparse["problem"] is not None)
    assert sparse["library"] is None or Path(sparse["library"]).is_file()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(call: Call, shell: str) -> None:
    out = call("completion", shell).stdout
    assert "_ONNXPRUNE_COMPLETE" in out and "onnxprune" in out


def test_completion_completes(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the script asks for when Tab is pressed."""
    monkeypatch.setenv("_ONNXPRUNE_COMPLETE", "bash_complete")
    for words, expected in (
        ("onnxprune ", set(COMMANDS)),
        ("onnxprune shrink --crit", {"--criterion"}),
        ("onnxprune shrink --criterion geo", {"geometric-median"}),
    ):
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(len(words.split(" ")) - 1))
        found = {line.partition(",")[2] for line in call().stdout.splitlines()}
        assert found == expected


def test_version(call: Call) -> None:
    from onnxprune import __version__

    assert call("--version").stdout == f"onnxprune {__version__}\n"


def test_help_of_every_command(call: Call) -> None:
    for command in COMMANDS:
        assert call(command, "--help").stdout.startswith(f"Usage: onnxprune {command}")
    assert "Usage: onnxprune" in call(code=2).stderr
