"""The shared library with the sparse operators, built where there is a C++ compiler; all else is in pyproject.toml."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
FOLDER = Path("onnxprune") / "native"

# By path: the package itself cannot be imported before its dependencies are installed.
_spec = importlib.util.spec_from_file_location("native_build", ROOT / FOLDER / "build.py")
assert _spec is not None and _spec.loader is not None
native = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(native)


class BuildLibrary(build_ext):
    """A plain shared library, not a module of Python. Without a compiler the package installs all the same."""

    def run(self) -> None:
        try:
            native.build_or_log(self.target())
        except native.BuildError as error:
            sys.stderr.write(f"warning: the sparse operators were not built. {error}\n")

    def target(self) -> Path:
        folder = ROOT if self.inplace or self.editable_mode else Path(self.build_lib)
        return folder / FOLDER / native.library_name()

    def get_outputs(self) -> list[str]:
        made = (self.target(), self.target().with_name(native.LOG))
        return [str(path) for path in made if path.is_file()]

    def get_output_mapping(self) -> dict[str, str]:
        return {}

    def get_source_files(self) -> list[str]:
        return [str(path.relative_to(ROOT)) for path in sorted(native.SOURCES.iterdir())]


class PlatformWheel(bdist_wheel):
    """The library knows nothing of Python: one wheel a platform serves all versions."""

    def get_tag(self) -> tuple[str, str, str]:
        return ("py3", "none", super().get_tag()[2])


setup(
    ext_modules=[Extension("onnxprune.native.library", [])],
    cmdclass={"build_ext": BuildLibrary, "bdist_wheel": PlatformWheel},
)
