"""The code's own shape: imports point one way, each library enters through one module."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.needs import ROOT

PACKAGE = ROOT / "codegen"
MODULES = sorted(PACKAGE.rglob("*.py"))

MAY_IMPORT = {
    "errors": set[str](),
    "interrupt": set[str](),
    "graph": {"errors"},
    "frontend": {"errors", "graph"},
    "importers": {"errors", "interrupt", "graph", "frontend"},
    "passes": {"errors", "graph"},
    "plan": {"errors", "graph", "passes"},
    "emit": {"errors", "graph", "passes", "plan"},
    # Verification reads what was written and what the reference says, nothing in between.
    "runtime": {"errors", "interrupt", "graph", "emit"},
    "build": {"errors", "graph", "frontend", "importers", "passes", "plan", "emit"},
    "opening": {"errors", "frontend", "importers", "plan", "emit", "runtime", "build"},
    "tuning": {"errors", "graph", "frontend", "plan", "emit", "runtime", "build"},
    "options": {"plan", "emit"},
    "cli": {"errors", "interrupt", "importers", "passes", "plan", "emit", "runtime"}
    | {"build", "opening", "options", "tuning"},
    "__main__": {"interrupt", "cli"},
}
"""The folders and modules that each one may import besides itself.  The version, codegen itself, is for all."""

ENTERS_IN = {
    "pyopencl": {"runtime/devices.py"},
    "jinja2": {"emit/render.py"},
    "click": {"cli.py", "options.py"},
    "platformdirs": {"runtime/cache.py"},
    "safetensors": {"frontend/parameters/archive.py", "importers/writer.py"},
    "h5py": {"importers/keras/extract.py", "importers/open.py"},
    "onnx": {
        "importers/onnx/constants.py",
        "importers/onnx/evaluate.py",
        "importers/onnx/external.py",
        "importers/onnx/functions.py",
        "importers/onnx/number_types.py",
        "importers/onnx/reader.py",
        "importers/onnx/refusals.py",
        "importers/onnx/sequences.py",
        "importers/onnx/translate.py",
        "importers/open.py",
    },
    "tomli": {"frontend/spec/reader.py"},
}

EVERYWHERE = {"numpy"}


def place(module: Path) -> str:
    return module.relative_to(PACKAGE).as_posix()


def imports(module: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of all that a module imports: by statement, or by name through importlib."""
    for node in ast.walk(ast.parse(module.read_text(), str(module))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{place(module)}:{node.lineno}: imports are absolute"
            base = node.module or ""
            # "from codegen import build" names a module, "from codegen.build import lower" does not.
            yield from ((node.lineno, f"{base}.{a.name}" if base == "codegen" else base) for a in node.names)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
            if name in ("import_module", "__import__"):
                (argument,) = node.args
                value = argument.value if isinstance(argument, ast.Constant) else None
                assert isinstance(value, str), f"{place(module)}:{node.lineno}: imports a computed name"
                yield node.lineno, value


def part(dotted: str) -> str:
    """The folder or module of the package that a dotted name is in."""
    return dotted.split(".")[1]


@pytest.mark.parametrize("module", MODULES, ids=place)
def test_imports_point_one_way(module: Path) -> None:
    own = place(module).split("/")[0].removesuffix(".py")
    if own == "__init__":
        assert not list(imports(module))
        return
    allowed = MAY_IMPORT[own] | {own, "__version__"}
    wrong = [
        f"{place(module)}:{line} imports {name}"
        for line, name in imports(module)
        if name.startswith("codegen.") and part(name) not in allowed
    ]
    assert not wrong


@pytest.mark.parametrize("module", MODULES, ids=place)
def test_libraries_enter_through_one_module(module: Path) -> None:
    wrong = []
    for line, name in imports(module):
        library = name.split(".")[0]
        if library == "codegen" or library in EVERYWHERE or library in sys.stdlib_module_names:
            continue
        if place(module) not in ENTERS_IN.get(library, set()):
            wrong.append(f"{place(module)}:{line} imports {name}")
    assert not wrong


def test_every_library_enters_somewhere() -> None:
    found = {name.split(".")[0] for module in MODULES for _, name in imports(module)}
    assert set(ENTERS_IN) <= found


def test_no_cycles_between_modules() -> None:
    names = {_dotted(module): module for module in MODULES}
    edges = {name: {n for n in _targets(module, names) if n != name} for name, module in names.items()}
    while edges:
        free = [name for name, needs in edges.items() if not needs & set(edges)]
        assert free, f"these import each other: {sorted(edges)}"
        for name in free:
            del edges[name]


def _dotted(module: Path) -> str:
    return ".".join(("codegen", *module.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")


def _targets(module: Path, names: dict[str, Path]) -> Iterator[str]:
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (n for n in (*inner, node.module) if n in names and n != "codegen")


def test_no_module_is_named_after_nothing() -> None:
    assert not {m.stem for m in MODULES} & {"utils", "util", "helpers", "helper", "common", "misc", "manager", "base"}


@pytest.mark.parametrize("module", MODULES, ids=place)
def test_a_module_says_what_it_is_for(module: Path) -> None:
    tree = ast.parse(module.read_text())
    assert ast.get_docstring(tree)
