"""Writing under pressure: limits, a full disk, interrupts, failing renames, two writers, little memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from onnxprune.errors import OutputError
from onnxprune.model import Staged, load
from tests.model.builders import large_model, listing, read_back

ROOT = Path(__file__).resolve().parents[2]


def run_script(body: str, folder: Path, **options: object) -> subprocess.Popen[str]:
    code = "from onnxprune.model import *\nfrom tests.model.builders import *\n" + textwrap.dedent(body)
    return subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        **options,  # type: ignore[call-overload]
    )


@pytest.mark.parametrize("mode", ["always", "never"])
def test_a_size_limit_leaves_the_old_state(tmp_path: Path, mode: str) -> None:
    (tmp_path / "o.onnx").write_bytes(b"old")
    (tmp_path / "o.onnx.data").write_bytes(b"old data")
    process = run_script(
        f"""
        import resource, sys
        resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
        from onnxprune.errors import OutputError
        try:
            write(load(large_model()), sys.argv[1] + "/o.onnx", force=True, external_data={mode!r})
        except OutputError as error:
            print(error)
        """,
        tmp_path,
    )
    out, err = process.communicate()
    assert "cannot write" in out and "size limit" in out, err
    assert listing(tmp_path) == {"o.onnx": b"old", "o.onnx.data": b"old data"}


@pytest.mark.parametrize("mode", ["always", "never"])
def test_a_full_disk_leaves_the_old_state(tmp_path: Path, mode: str) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import os, sys
            import numpy as np
            from onnxprune.errors import OutputError
            from onnxprune.model import LazyTensor, load, write
            from tests.model.builders import listing, small_model, tensor_model
            from pathlib import Path
            disk = Path(sys.argv[1])
            write(load(small_model()), disk / "o.onnx")
            before = listing(disk)
            model = load(tensor_model())
            big = model.replace(model.proto, {{"t": LazyTensor.from_array("t", np.zeros(2 << 20, np.int8))}})
            try:
                write(big, disk / "o.onnx", force=True, external_data={mode!r})
            except OutputError as error:
                print(error)
            assert listing(disk) == before
            """
        )
    )
    # A file system of one megabyte, in a namespace of its own: the machine does not see it.
    mount = f"mount -t tmpfs -o size=1m tmpfs '{disk}' || exit 77; exec '{sys.executable}' '{script}' '{disk}'"
    try:
        process = subprocess.run(
            ["unshare", "-rm", "sh", "-c", mount],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        pytest.skip("no unshare")
    if process.returncode in (1, 77) and "Traceback" not in process.stderr:
        pytest.skip("no user namespaces")
    assert process.returncode == 0, process.stderr
    assert "disk is full" in process.stdout


def test_an_interrupt_while_writing_leaves_the_old_state(tmp_path: Path) -> None:
    (tmp_path / "o.onnx").write_bytes(b"old")
    body = """
        import sys, numpy as np
        model = load(tensor_model())
        tensors = {f"t{i}": LazyTensor.from_array(f"t{i}", np.zeros(1 << 20, np.int8)) for i in range(100)}
        print("go", flush=True)
        while True:
            with Staged(model.replace(model.proto, tensors), sys.argv[1] + "/o.onnx", force=True):
                pass
    """
    process = run_script(body, tmp_path)
    assert process.stdout is not None and process.stdout.readline() == "go\n"
    while len(listing_names(tmp_path)) < 2:
        assert process.poll() is None, process.communicate()
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode != 0
    assert listing(tmp_path) == {"o.onnx": b"old"}


def listing_names(folder: Path) -> list[str]:
    return os.listdir(folder)


def test_a_failing_rename_puts_the_old_files_back(tmp_path: Path) -> None:
    model = load(large_model())
    (tmp_path / "o.onnx.data").write_bytes(b"old data")
    with Staged(model, tmp_path / "o.onnx", force=True, external_data="always") as staged:
        staged.path.unlink()  # so that the second rename fails, after the data file has been replaced
        with pytest.raises(OutputError, match="cannot write"):
            staged.commit()
    assert listing(tmp_path) == {"o.onnx.data": b"old data"}


def test_two_writers_of_one_output(tmp_path: Path) -> None:
    body = """
        import sys
        model = load(large_model({channels}))
        for _ in range(20):
            write(model, sys.argv[1] + "/o.onnx", force=True, external_data="always")
    """
    writers = [run_script(body.format(channels=channels), tmp_path) for channels in (32, 64)]
    for writer in writers:
        _, err = writer.communicate()
        assert writer.returncode == 0, err
    assert sorted(listing(tmp_path)) == ["o.onnx", "o.onnx.data"]
    proto = read_back(tmp_path / "o.onnx")
    assert proto in (large_model(32), large_model(64))


def test_the_bytes_do_not_depend_on_the_hash_seed(tmp_path: Path) -> None:
    for seed in ("0", "1"):
        body = "import sys\nwrite(load(annotated_model()), sys.argv[1] + '/o.onnx', force=True)"
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed}
        code = f"from onnxprune.model import *\nfrom tests.model.builders import *\n{body}"
        folder = tmp_path / seed
        folder.mkdir()
        subprocess.run([sys.executable, "-W", "error", "-c", code, str(folder)], cwd=ROOT, env=environment, check=True)
    assert listing(tmp_path / "0") == listing(tmp_path / "1")


def test_memory_stays_bounded_while_writing(tmp_path: Path) -> None:
    size = 300 << 20
    source = tmp_path / "t.data"
    with open(source, "wb") as file:
        file.truncate(size)
    body = f"""
        import resource, sys
        tensor = TensorProto(name="t", data_type=3, dims=[{size}], data_location=1)
        tensor.external_data.add(key="location", value="t.data")
        open(sys.argv[1] + "/m.onnx", "wb").write(tensor_model(tensor).SerializeToString())
        model = load(sys.argv[1] + "/m.onnx")
        resource.setrlimit(resource.RLIMIT_DATA, (200 << 20, 200 << 20))
        write(model, sys.argv[1] + "/o.onnx", external_data="never")
    """
    process = run_script(body, tmp_path)
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert (tmp_path / "o.onnx").stat().st_size > size
