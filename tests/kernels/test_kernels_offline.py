"""Kernels without a device: every branch of every template is rendered, run by Oclgrind, compiled for Intel GPUs."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import subprocess
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pytest
from jinja2 import nodes

from codegen.emit import render
from codegen.graph.evaluation import all_outputs, sources
from codegen.graph.tolerance import rounded_evaluation, tolerance
from codegen.plan.grid import Grid
from codegen.runtime.artefact import to_user_order
from tests.support import artefacts
from tests.support.apart import memory, oclgrind, writers, written
from tests.support.needs import ROOT

# ---- coverage -------------------------------------------------------------------------------------------------------

seen: Counter[str] = Counter()


def see(branch: str, value: Any = None) -> Any:
    """Called by instrumented templates."""
    seen[branch] += 1
    return value


class Instrumented(jinja2.Environment):
    """Templates that report every branch they take: of {% if %}, and of conditional expressions."""

    branches: tuple[str, ...] = ()

    def compile(self, source: Any, name: str | None = None, filename: str | None = None, *rest: Any) -> Any:
        tree: nodes.Template = self.parse(source, name, filename) if isinstance(source, str) else source
        # Jinja evaluates the inner one of two nested conditions once for all: the branch not taken has to stay.
        followers = {id(node) for choice in tree.find_all(nodes.If) for node in choice.elif_}
        for choice in list(tree.find_all(nodes.If)):
            choice.body.insert(0, nodes.ExprStmt(self._report(choice, name, "if"), lineno=choice.lineno))
            if id(choice) not in followers and not _fails(choice.else_):
                choice.else_.insert(0, nodes.ExprStmt(self._report(choice, name, "else"), lineno=choice.lineno))
        for condition in list(tree.find_all(nodes.CondExpr)):
            otherwise = condition.expr2 or nodes.Const("", lineno=condition.lineno)
            condition.expr1 = self._report(condition, name, "value", condition.expr1)
            condition.expr2 = self._report(condition, name, "other value", otherwise)
        tree.set_environment(self)
        return super().compile(tree, name, filename, *rest)

    def _report(self, node: nodes.Node, template: str | None, what: str, value: nodes.Expr | None = None) -> nodes.Call:
        place = f"{template}:{node.lineno}: {what}"
        branch = f"{place} ({sum(b.startswith(place) for b in self.branches) + 1})"
        type(self).branches += (branch,)
        arguments = [nodes.Const(branch), *([] if value is None else [value])]
        return nodes.Call(nodes.ImportedName(f"{__name__}.see"), arguments, [], None, None, lineno=node.lineno)


def _fails(body: list[nodes.Node]) -> bool:
    return any(
        isinstance(call.node, nodes.Name) and call.node.name == "fail" for n in body for call in n.find_all(nodes.Call)
    )


def test_artefacts_take_every_branch_of_every_kernel_template(monkeypatch: pytest.MonkeyPatch) -> None:
    """To mend a failure, add a network to branches.py that takes the branch, or simplify the template."""
    seen.clear()
    monkeypatch.setattr(Instrumented, "branches", ())
    plain = render.environment
    plain.cache_clear()
    try:
        with monkeypatch.context() as patched:
            patched.setattr(jinja2, "Environment", Instrumented)
            templates = sorted((ROOT / "templates/kernels").glob("*.jinja"))
            for template in templates:
                render.environment().get_template(f"kernels/{template.name}")
            for name in artefacts.NETWORKS:
                render.render_kernels(artefacts.build(name).plan, ["banner"])
            for name in ("tables", "sums"):
                render.render_kernels(artefacts.build(name, "gpu").plan, ["banner"])
            tiny = artefacts.build("tiny").plan
            grouped = [replace(launch, grid=Grid(launch.grid.groups, (2, 1, 1))) for launch in tiny.launches]
            render.render_kernels(replace(tiny, launches=tuple(grouped)), ["banner"])
    finally:
        plain.cache_clear()
    assert len(Instrumented.branches) > 100
    missed = [branch for branch in Instrumented.branches if branch.startswith("kernels/") and not seen[branch]]
    assert not missed, "\n".join(missed)


def test_artefacts_use_every_kernel_template() -> None:
    used = {kernel.description.template for name in artefacts.NETWORKS for kernel in artefacts.build(name).plan.kernels}
    there = {path.name for path in (ROOT / "templates/kernels").glob("*.cl.jinja")}
    assert used == there - {"program.cl.jinja"}


# ---- the arena ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", artefacts.NETWORKS)
def test_no_launch_overwrites_what_a_later_one_reads(name: str, tmp_path: Path) -> None:
    artefact = artefacts.build(name).read(tmp_path)
    computed = {launch["writes"] for launch in artefact.launches}
    for tensor, owners in writers(artefact):
        assert owners == {tensor} if tensor in computed else None not in owners


@pytest.mark.parametrize("name", artefacts.NETWORKS)
def test_no_launch_overwrites_what_it_reads(name: str, tmp_path: Path) -> None:
    """Work-items run in any order, and the kernels' pointers are restrict."""
    artefact = artefacts.build(name).read(tmp_path)
    for launch in artefact.launches:
        results = written(artefact, launch)
        together = itertools.chain(itertools.product(launch["reads"], results), itertools.combinations(results, 2))
        for one, other in together:
            a, b = artefact.tensors[one], artefact.tensors[other]
            if (a.buffer, a.index) == (b.buffer, b.index):
                assert not np.intersect1d(memory(a), memory(b)).size


# ---- Oclgrind -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "target", "native_floats"),
    [
        *((name, "cpu", 8) for name in artefacts.NETWORKS),
        *((name, "cpu", 16) for name in ("convolutions", "winograd", "tiles", "products")),
        *((name, "gpu", 1) for name in ("convolutions", "products")),
    ],
)
def test_kernels_run_clean_under_oclgrind(
    name: str, target: str, native_floats: int, tool: Callable[[str], str], tmp_path: Path
) -> None:
    built = artefacts.build(name, target)
    artefact = built.read(tmp_path)
    given = artefacts.numbers(built.unfolded)
    user = {d["name"]: np.ascontiguousarray(to_user_order(given[d["name"]], d)) for d in artefact.inputs}
    assert oclgrind(tool, artefact.folder, user, tmp_path / "results.npz", native_floats) == ""

    results = np.load(tmp_path / "results.npz")
    expected = built.unfolded.evaluate(given)
    noisy = rounded_evaluation(built.launches, sources(given), all_outputs(built.launches))
    for k, declared in enumerate(artefact.outputs):
        true, near = expected[built.unfolded.outputs[k].value], noisy[built.launches.outputs[k].value]
        error = np.abs(results[declared["name"]] - to_user_order(true, declared)).max()
        assert error <= tolerance(true, near, declared["type"]), declared["name"]


def edit(folder: Path, pattern: str, replacement: str) -> None:
    """Changes the first place in a generated folder's kernels where a pattern fits."""
    path = folder / f"{folder.name}.cl"
    text, count = re.subn(pattern, replacement, path.read_text(), count=1)
    assert count == 1
    path.write_text(text)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][path.name] = hashlib.sha256(text.encode()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("pattern", "replacement", "complaint"),
    [
        (r"x \+= x_at;", "x += x_at + 1;", "Invalid read"),
        (r"y \+= y_at;", "y += y_at + 1;", "Invalid write"),
        (r"(_weight, )(\d+)(\).*\n)\s*\S+,", r"\g<1>\g<2> - 1\3", "Invalid read"),
        (r"oy = ITEM\(0\);", "oy = 0;", "Write-write data race"),
        (r"start = LOAD_VECTOR\(.*\);", r"start = LOAD_VECTOR(y);", "uninitialized value"),
    ],
    ids=["read", "write", "table", "race", "uninitialised"],
)
def test_oclgrind_sees_faults(
    pattern: str, replacement: str, complaint: str, tool: Callable[[str], str], tmp_path: Path
) -> None:
    """The other tests mean something only if a fault would have been seen."""
    built = artefacts.build("tables")
    folder = built.write(tmp_path)
    edit(folder, pattern, replacement)
    assert complaint in oclgrind(tool, folder, artefacts.numbers(built.unfolded), tmp_path / "results.npz")


# ---- compilers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", artefacts.NETWORKS)
def test_kernels_are_plain_opencl_c(name: str, tool: Callable[[str], str], tmp_path: Path) -> None:
    """Kernels need no extensions, in every version of the language from 1.2 on."""
    folder = artefacts.build(name).write(tmp_path)
    strict = ["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Werror", "-Wno-unused-variable", "-Wno-self-assign"]
    for version in ("CL1.2", "CL2.0", "CL3.0"):
        for options in ([], ["-DWIDE"], ["-DONE_LAUNCH"]):
            command = [tool("clang"), "-x", "cl", f"-cl-std={version}", "-Xclang", "-finclude-default-header"]
            command += ["-target", "spir64", "-fsyntax-only", *strict, *options, str(folder / f"{name}.cl")]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("device", ["0x9a49", "skl"])
@pytest.mark.parametrize("name", artefacts.NETWORKS)
def test_kernels_compile_for_intel_gpus(name: str, device: str, tool: Callable[[str], str], tmp_path: Path) -> None:
    """0x9a49 is Iris Xe (Gen12LP), skl is Gen9; both without the GPU."""
    built = artefacts.build(name, "gpu")
    source = built.write(tmp_path) / f"{name}.cl"
    command = [tool("ocloc"), "compile", "-file", str(source), "-device", device, "-out_dir", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=300)
    said = done.stdout + done.stderr
    assert done.returncode == 0 and "Build succeeded" in said, said
    assert list((tmp_path / "out").glob("*.bin"))
    # Registers spilled are the only warnings, and only where long functions are in an epilogue.
    assert said.count("warning") == said.count("spilled")
    assert name == "stages" or "spilled" not in said, said
