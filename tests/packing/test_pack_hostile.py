"""Packed files that are cut off, flipped, or lie: a ModelError, nothing written, no memory taken."""

from __future__ import annotations

import os
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pack_models import matmul, network, saved

from onnxprune import pack, unpack
from onnxprune.errors import ModelError, UsageError
from onnxprune.model import load
from onnxprune.packing import codec, layout
from onnxprune.packing.layout import Coded, Directory, File, Plain, Role, Section, Sparse, Table
from onnxprune.packing.reader import Packed
from onnxprune.packing.zeros import Blocks


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """A small packed file with a table, symbols, gaps, and two pools."""
    weight = np.random.default_rng(0).standard_normal((12, 24)).astype(np.float32)
    weight[np.random.default_rng(1).random(weight.shape) < 0.7] = 0
    path = saved(tmp_path, matmul(weight))
    result = pack(path, bits=3)
    path.unlink()
    assert result.parts["gaps"] and result.packed_bytes < 700
    return result.written[0]


def refused(path: Path, said: str = "") -> None:
    folder = path.parent
    before = sorted(os.listdir(folder))
    with pytest.raises(ModelError, match=said):
        unpack(path, folder / "out.onnx")
    assert sorted(os.listdir(folder)) == before


def test_every_truncation(packed: Path) -> None:
    content = packed.read_bytes()
    for size in range(len(content)):
        packed.write_bytes(content[:size])
        with pytest.raises(ModelError):
            Packed(packed).check()
    packed.write_bytes(content + b"\0")
    with pytest.raises(ModelError):
        Packed(packed).check()


def test_every_single_bit(packed: Path) -> None:
    content = bytearray(packed.read_bytes())
    for position in range(len(content)):
        for bit in range(8):
            content[position] ^= 1 << bit
            packed.write_bytes(content)
            content[position] ^= 1 << bit
            with pytest.raises(ModelError):
                Packed(packed).check()
    packed.write_bytes(content)
    Packed(packed).check()


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.data())
def test_directories_of_any_numbers(packed: Path, data: st.DataObject) -> None:
    """With right checksums around wrong bytes, only ModelError comes out, and no memory is taken."""
    content = packed.read_bytes()
    parsed, first = layout.parse(memoryview(content))
    raw = bytearray(b"".join(layout._encoded(parsed)))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    body = content[first : first + sum(section.stored for section in parsed.sections)]
    other = packed.with_name("forged.onnxpack")
    other.write_bytes(around(body, bytes(raw)))
    tracemalloc.start()
    try:
        Packed(other).check()
    except ModelError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 80e6


def around(body: bytes, raw: bytes, *, version: int = 1) -> bytes:
    """A packed file with right checksums around these sections and this directory."""
    _, stored = codec.compress(raw)
    start = struct.pack("<8sHH", layout.start()[:8], version, 0)
    end = struct.pack("<QIII", len(body), len(stored), len(raw), zlib.crc32(stored))
    return start + body + stored + end + struct.pack("<I", zlib.crc32(start + end))


def forged(path: Path, parts: list[layout.Part], tables: list[Table], streams: list[tuple[Role, bytes]]) -> Directory:
    """Write a file of one model file; its directory, to be changed and written again with `rewritten`."""
    made = Directory([File("m.onnx", sum(part.length for part in parts))], tables=tables, parts=parts)
    body = b""
    for role, data in streams:
        coding, stored = codec.compress(data)
        made.sections.append(Section(role, coding, len(data), len(stored), zlib.crc32(stored)))
        body += stored
    path.write_bytes(around(body, b"".join(layout._encoded(made))))
    return made


def lie(path: Path, change: Callable[[Directory], None]) -> None:
    """Change the directory of a file, with right checksums."""
    content = path.read_bytes()
    found, first = layout.parse(memoryview(content))
    size = sum(section.stored for section in found.sections)
    change(found)
    path.write_bytes(around(content[first : first + size], b"".join(layout._encoded(found))))


def test_sizes_that_lie(packed: Path) -> None:
    content = packed.read_bytes()

    def section(**change: int) -> Callable[[Directory], None]:
        def changed(found: Directory) -> None:
            found.sections[0] = replace(found.sections[0], **change)

        return changed

    def part(changed: layout.Part) -> Callable[[Directory], None]:
        def change(found: Directory) -> None:
            found.parts[next(k for k, p in enumerate(found.parts) if isinstance(p, Coded))] = changed

        return change

    def files(*found_files: File) -> Callable[[Directory], None]:
        def change(found: Directory) -> None:
            found.files = list(found_files)

        return change

    whole = layout.parse(memoryview(content))[0].size
    lies = [
        (section(size=1 << 60), "says that it has"),
        (section(size=(1 << 24) + 1), "says that it has"),
        (section(size=7), "bytes"),
        (section(stored=1 << 40), "do not fill"),
        (section(crc=1), "checksum of the section"),
        (part(Coded(0, 1 << 40, 0, Blocks(1, 1))), "says that it has"),
        (part(Coded(7, 288, 0, Blocks(1, 1))), "table 7"),
        (part(Coded(0, 288, 0, Blocks(1, 5))), "says that it has"),
        (part(Coded(0, 288, 0, Blocks(65, 1))), "says that it has"),
        (part(Coded(0, 288, 0, Blocks(64, 288))), "gaps|weights"),
        (part(Coded(0, 288, 1 << 63, Blocks(1, 1))), "from weight"),
        (part(Coded(0, 288, 0, Blocks(0, 1))), "weights|do not|reads"),
        (part(Plain(Role.EXACT1, 288 * 4)), "not there"),
        (lambda found: found.tables.clear(), "table 0"),
        (lambda found: found.tables.__setitem__(0, Table(0)), "entries"),
        (lambda found: found.tables.__setitem__(0, Table(257)), "entries"),
        (lambda found: found.tables.__setitem__(0, Table(2)), "entries"),
        (lambda found: found.tables.__setitem__(0, Table(8, 1 << 62)), "entries"),
        (files(File("m.onnx", 1 << 50)), "1.13 PB|longer"),
        (files(File("m.onnx", whole + 1)), "longer"),
        (files(File("m.onnx", whole - 1)), "two files|shorter"),
        (files(File("m.onnx", 0)), "shorter"),
        (lambda found: setattr(found, "unpacked", bytes(32)), "another checksum"),
        (lambda found: found.sections.reverse(), "checksum"),
    ]
    for change, said in lies:
        packed.write_bytes(content)
        lie(packed, change)
        tracemalloc.start()
        refused(packed, said)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 40e6


@pytest.mark.parametrize(
    "name",
    ["../evil", "/tmp/evil", "a/b", "", ".", "..", "C:evil", "a\\b", "out.onnx", "m\0"],
)
def test_names_that_lead_elsewhere(packed: Path, name: str) -> None:
    def change(found: Directory) -> None:
        found.files.append(File(name, 0))

    lie(packed, change)
    refused(packed, "plain name|called the same")


def test_symbols_and_gaps_that_lie(tmp_path: Path) -> None:
    path = tmp_path / "x.onnxpack"
    table = (Role.TABLE, bytes(8))
    part = [Coded(0, 100, 0, Blocks(0, 1))]
    forged(path, part, [Table(2)], [table, (Role.SYMBOLS, bytes([2] * 100))])
    refused(path, "beyond its codebook")
    forged(path, part, [Table(2)], [table, (Role.SYMBOLS, bytes(99))])
    refused(path, "99 weights")
    gapped = [Coded(0, 100, 0, Blocks(1, 1))]
    forged(path, gapped, [Table(2)], [table, (Role.SYMBOLS, bytes(2)), (Role.GAPS, bytes([100, 1]))])
    refused(path, "gaps")
    one = (Role.TABLE, np.ones(2, "<f4").tobytes())
    forged(path, gapped, [Table(2)], [one, (Role.SYMBOLS, bytes(1)), (Role.GAPS, bytes([1]))])
    refused(path, "gaps|zero")
    forged(path, [*part, *part], [Table(2)], [table, (Role.SYMBOLS, bytes(100))])
    refused(path, "not there")
    forged(path, part, [Table(2)], [table, (Role.SYMBOLS, bytes(100)), (Role.GAPS, b"1")])
    refused(path, "no part reads")
    forged(path, [Coded(1, 100, 0, Blocks(0, 1))], [Table(2), Table(2)], [table, table])
    refused(path, "out of order")
    sparse = [Sparse(Role.EXACT4, 100, Blocks(1, 1))]
    forged(path, sparse, [], [(Role.GAPS, bytes([101])), *[(Role.EXACT4, b"1")] * 4])
    refused(path, "gaps")
    forged(path, sparse, [], [(Role.GAPS, bytes([1, 1])), *[(Role.EXACT4, b"1")] * 4])
    refused(path, "not there")
    forged(path, [Sparse(Role.EXACT4, 100, Blocks(0, 1))], [], [(Role.GAPS, b"")])
    refused(path, "says that it has")
    planes = [(Role.EXACT4, bytes(size)) for size in (5, 5, 5, 4)]
    forged(path, [Plain(Role.EXACT4, 19)], [], planes)
    refused(path, "lengths")
    forged(path, [Plain(Role.GRAPH, 5)], [], [(Role.GRAPH, bytes(6))])
    refused(path, "no part reads")


def test_a_file_that_claims_terabytes(tmp_path: Path) -> None:
    path = tmp_path / "x.onnxpack"
    zero = [Coded(0, 1 << 22, k << 22, Blocks(1, 1)) for k in range(40)]
    streams = [(Role.TABLE, bytes(4)), *[(Role.SYMBOLS, b""), (Role.GAPS, b"")] * 40]
    forged(path, list(zero), [Table(1)], streams)
    assert path.stat().st_size < 2000
    refused(path, "allowed are 67.1 MB")
    tracemalloc.start()
    with pytest.raises(ModelError, match="another checksum"):
        Packed(path, max_size=1 << 40).check()  # 671 MB, a part at a time
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 150e6


def test_what_is_not_a_model_is_not_written(tmp_path: Path) -> None:
    import hashlib

    path = tmp_path / "x.onnxpack"
    content = b"this is a text and not a model, whatever its checksum says"
    forged(path, [Plain(Role.GRAPH, len(content))], [], [(Role.GRAPH, content)])
    lie(path, lambda found: setattr(found, "unpacked", hashlib.sha256(content).digest()))
    Packed(path).check()
    refused(path, "not an ONNX model")


def test_other_versions_and_other_files(packed: Path, tmp_path: Path) -> None:
    content = packed.read_bytes()
    found, first = layout.parse(memoryview(content))
    body = content[first : first + sum(section.stored for section in found.sections)]
    packed.write_bytes(around(body, b"".join(layout._encoded(found)), version=2))
    refused(packed, "version 2")
    packed.write_bytes(content.replace(b"\r\n", b"\n"))  # a transfer as text
    refused(packed, "not a packed model")
    for other in (b"", b"\x89", b"PK\x03\x04" + bytes(50), network().SerializeToString()):
        packed.write_bytes(other)
        refused(packed, "this is")
    with pytest.raises(UsageError, match="no such file"):
        unpack(tmp_path / "nothing.onnxpack")
    with pytest.raises(ModelError, match="directory"):
        unpack(tmp_path, tmp_path / "out.onnx")


def test_commands_for_models_say_how_to_go_on(packed: Path) -> None:
    with pytest.raises(ModelError) as caught:
        load(packed)
    assert "onnxprune unpack" in str(caught.value)


def test_counts_that_lie(tmp_path: Path) -> None:
    """A directory that claims a million entries ends where its bytes end."""
    path = tmp_path / "x.onnxpack"
    path.write_bytes(around(b"", b"\xff\xff\x3f" + bytes(100)))
    refused(path, "entries")
