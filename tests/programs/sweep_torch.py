"""Networks of PyTorch's libraries, exported in three ways, imported, built and run, against onnxruntime and torch.

    pip install -e . onnx onnxscript onnxruntime pyopencl torch torchvision timm ultralytics segmentation-models-pytorch
    python -m tests.programs.sweep_torch [--only WORD] [--import-only] [--retry] [--refusals F]
                                         [--table docs/pytorch-sweep.md]

What the sweep finds is kept in --folder, so that it can be interrupted and goes on where it was; with --table-only
nothing is measured, and --table is written from what is known.  A network is equal, or refused with a reason, or
DIFFERENT, which is a fault: the exit code is 1 then.  Networks of a library that is not installed are left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from codegen import build
from codegen.errors import ClgenError
from codegen.runtime.artefact import read
from codegen.runtime.devices import select
from codegen.runtime.execute import Session
from tests.support.torch_networks import NETWORKS, Network, ready

WAYS: Mapping[str, str] = {
    "old": "dynamo=False, training=PRESERVE, do_constant_folding=False",
    "new": "dynamo=True",
    "visible": "dynamo=True, optimize=False",
}
TOLERANCE = 1e-4  # of max|y|, as DESIGN has it for networks of float32
SECONDS = 900  # for one network in all its ways
TOGETHER = 5  # networks in a process, which bounds its memory
Found = dict[str, Any]


# One network ----------------------------------------------------------------------------------------------------------


def export(network: Network, folder: Path, ways: Sequence[str]) -> dict[str, str]:
    """Writes <way>.onnx, and x and torch's y to torch.npz; returns by way what the exporter failed with."""
    import torch

    net = ready(network)
    x = torch.randn(1, 3, network.size, network.size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        results = [y.numpy() for y in net(x)]
    np.savez(folder / "torch.npz", x=x.numpy(), **{f"y{i}": y for i, y in enumerate(results)})
    failed = {}
    program = None
    for way in ways:
        part = folder / f"{way}.part.onnx"
        names = {"input_names": ["x"], "output_names": [f"y{i}" for i in range(len(results))]}
        try:
            with torch.no_grad():
                if way == "old":
                    training = torch.onnx.TrainingMode.PRESERVE
                    options = {"dynamo": False, "training": training, "do_constant_folding": False}
                    torch.onnx.export(net, (x,), str(part), **options, **names)
                else:
                    # The first half of what the new exporter does of a module, and most of its time.
                    program = program or torch.export.export(net, (x,))
                    options = {"dynamo": True, "verbose": False, "external_data": False, "optimize": way != "visible"}
                    torch.onnx.export(program, (), str(part), **options, **names)
            part.rename(folder / f"{way}.onnx")
        except Exception as error:  # an exporter may fail with anything
            lines = str(error).strip().splitlines() or [""]
            failed[way] = f"{type(error).__name__}: {lines[0]}"
    return failed


def onnxruntime_results(path: Path, x: Any) -> list[Any]:
    """The results of onnxruntime with its optimisations off."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})


def largest_error(got: Sequence[Any], expected: Sequence[Any]) -> float:
    """max|got - expected| / max|expected| of the worst output."""
    if [np.shape(y) for y in got] != [np.shape(y) for y in expected]:
        return float("inf")
    worst = 0.0
    for a, b in zip(got, expected, strict=True):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        difference = np.abs(a - b).max(initial=0.0)
        worst = max(worst, float(difference / (np.abs(b).max(initial=0.0) or 1.0)) if difference else 0.0)
    return worst


def measure(path: Path, torch_file: Path, import_only: bool) -> Found:
    """Imports a model, and unless ``import_only`` builds and runs it; what came of it."""
    started = time.monotonic()
    found: Found = {}
    try:
        lowered = build.lower(path)  # unchecked: outputs are compared below
    except ClgenError as error:
        return {"kind": "refused", "reason": str(error).replace(str(path), path.name)}
    placed = lowered.report
    found |= {"kind": "imported", "batch_norms": len(placed.batch_norms), "launched": placed.launches}
    if not import_only:
        found |= run(lowered, path, torch_file)
    return {**found, "seconds": round(time.monotonic() - started, 1)}


def run(lowered: build.Lowered, path: Path, torch_file: Path) -> Found:
    """Builds a network and compares its outputs with those of onnxruntime and torch."""
    with np.load(torch_file) as arrays:
        x = arrays["x"]
        by_torch = [arrays[f"y{i}"] for i in range(len(arrays) - 1)]
    expected = onnxruntime_results(path, x)
    try:
        with tempfile.TemporaryDirectory(prefix="sweep-") as scratch:
            folder, _ = build.build(lowered, Path(scratch), "cpu")
            artefact = read(folder)
            session = Session(artefact, select((), default_type=artefact.device_type)[0])
            results = session.run({artefact.inputs[0]["name"]: x})
    except ClgenError as error:
        return {"kind": "refused", "reason": str(error).replace(str(path), path.name)}
    got = [results[declared["name"]] for declared in artefact.outputs]
    errors = {"onnxruntime": largest_error(got, expected), "torch": largest_error(got, by_torch)}
    equal = errors["onnxruntime"] <= TOLERANCE
    return {"kind": "equal" if equal else "DIFFERENT", "launches": len(artefact.launches), **errors}


def one(network: Network, folder: Path, import_only: bool, retry: bool) -> None:
    """All ways of one network; writes found.json."""
    folder.mkdir(parents=True, exist_ok=True)
    record = folder / "found.json"
    found: dict[str, Found] = json.loads(record.read_text()) if record.exists() else {}
    todo = [way for way in WAYS if wanted(found.get(way), import_only, retry)]
    missing = [way for way in todo if not (folder / f"{way}.onnx").exists()]
    failed = export(network, folder, missing) if missing else {}
    for way in todo:
        if way in failed:
            found[way] = {"kind": "exporter fails", "reason": failed[way]}
        else:
            found[way] = measure(folder / f"{way}.onnx", folder / "torch.npz", import_only)
        print(f"{network.library}:{network.name} {way}: {line(found[way])}", flush=True)
        record.write_text(json.dumps(found, indent=1))


def wanted(found: Found | None, import_only: bool, retry: bool) -> bool:
    """True if a way of a network is still to be measured."""
    if found is None or (found["kind"] == "imported" and not import_only):
        return True
    return retry and found["kind"] not in ("equal", "imported", "exporter fails")


# All of them ----------------------------------------------------------------------------------------------------------


def line(found: Found) -> str:
    if found["kind"] == "equal":
        folded = found["batch_norms"] - found["launched"]
        errors = f"{found['onnxruntime']:.0e} {found['torch']:.0e}"
        return f"{folded}/{found['batch_norms']} {errors} {found['launches']} launches {found['seconds']} s"
    if found["kind"] == "DIFFERENT" and "onnxruntime" in found:
        return f"DIFFERENT: {found['onnxruntime']:.0e} from onnxruntime, {found['torch']:.0e} from torch"
    return found["kind"] + (f": {found['reason']}" if found.get("reason") else "")


def collected(folder: Path) -> dict[str, dict[str, Found]]:
    """The results so far, in the order of the networks."""
    files = {name: folder / name.replace(":", "-") / "found.json" for name in NETWORKS}
    return {name: json.loads(file.read_text()) for name, file in files.items() if file.exists()}


def reasons(found: Found) -> list[str]:
    """The distinct reasons of a model's refusal, without the names of nodes."""
    first, *nodes = line(found).splitlines()
    return list(dict.fromkeys(re.sub(r'^ *(\S+) ".*?:', r"\1:", node) for node in nodes)) or [first]


def refusals(found: Mapping[str, Mapping[str, Found]]) -> Iterator[str]:
    """Reasons, the most frequent first, each with the networks and ways that it is of."""
    groups: dict[str, list[str]] = {}
    for name, ways in found.items():
        for way, outcome in ways.items():
            if outcome["kind"] not in ("equal", "imported"):
                for reason in reasons(outcome):
                    groups.setdefault(reason, []).append(f"{name} ({way})")
    for reason, where in sorted(groups.items(), key=lambda item: -len(item[1])):
        yield f"{len(where)}  {reason}\n     {', '.join(where)}"


TABLE = """# Networks of PyTorch's libraries, imported and compared

`python -m tests.programs.sweep_torch` exports the networks, and its `--table` writes this page.  The networks have
random weights, and batch norms with statistics that are not the initial ones.  Each was exported in three ways:

{ways}

*imported* means that clgen read the model and nothing more: it was not built and no output was compared.  *equal* means
that it was built for OpenCL on a CPU and its outputs are within {tolerance:.0e} of ONNX Runtime's, which ran with its
optimisations off.  *DIFFERENT* means that they are not.  Errors are the largest difference of an output, divided by
the largest absolute value of that output; the second is the error against torch itself.  *Batch norms* says how many of
those in the ONNX file became part of another layer, so that none of their own arithmetic is launched.

{counts}

| network | way | result | batch norms folded | error, ONNX Runtime | error, torch |
|---|---|---|---|---|---|
{rows}
"""


def table(found: Mapping[str, Mapping[str, Found]]) -> str:
    """The page of all results, as Markdown."""
    counts = []
    for way in WAYS:
        kinds = [ways[way]["kind"] for ways in found.values() if way in ways]
        each = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(sorted(kinds)))
        counts.append(f"- {way}: {len(kinds)} networks: {each}")
    rows = []
    for name, ways in found.items():
        for way, outcome in ways.items():
            result = outcome["kind"]
            if outcome.get("reason"):
                result += ": " + "; ".join(reasons(outcome)).removeprefix(f"{result}: ").replace("|", r"\|")
            total = outcome.get("batch_norms")
            norms = "" if total is None else f"{total - outcome['launched']}/{total}"
            errors = [f"{outcome[of]:.0e}" if of in outcome else "" for of in ("onnxruntime", "torch")]
            rows.append(f"| {name} | {way} | {result} | {norms} | {errors[0]} | {errors[1]} |")
    missing = [name for name in NETWORKS if name not in found]
    if missing:
        counts += ["", f"Not tried for this page, though the script has them: {', '.join(missing)}."]
    options = "\n".join(f"- {way}: `{options}`" for way, options in WAYS.items())
    return TABLE.format(ways=options, tolerance=TOLERANCE, counts="\n".join(counts), rows="\n".join(rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", metavar="WORD", help="networks whose name has this word; repeatable")
    parser.add_argument("--import-only", action="store_true", help="import, but do not build and run")
    parser.add_argument("--retry", action="store_true", help="once more those that were refused or different")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "torch-sweep")
    parser.add_argument("--refusals", type=Path, metavar="F", help="write the reasons of all refusals to F")
    parser.add_argument("--table", type=Path, metavar="F", help="write the results of all networks to F, as Markdown")
    parser.add_argument(
        "--table-only", action="store_true", help="measure nothing, and write the table of what is known"
    )
    parser.add_argument("--here", nargs="+", default=[], help=argparse.SUPPRESS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.here:
        for name in options.here:
            one(NETWORKS[name], options.folder / name.replace(":", "-"), options.import_only, options.retry)
        return
    installed = {n.library: importlib.util.find_spec(n.library) is not None for n in NETWORKS.values()}
    before = collected(options.folder)
    todo = [
        name
        for name, network in NETWORKS.items()
        if installed[network.library] and (not options.only or any(word in name for word in options.only))
        if any(wanted(before.get(name, {}).get(way), options.import_only, options.retry) for way in WAYS)
    ]
    flags = [f"--{flag}" for flag in ("import-only", "retry") if getattr(options, flag.replace("-", "_"))]
    for k in range(0, 0 if options.table_only else len(todo), TOGETHER):
        names = todo[k : k + TOGETHER]
        program = [sys.executable, "-m", "tests.programs.sweep_torch"]
        command = [*program, "--folder", str(options.folder), *flags, "--here", *names]
        try:
            done = subprocess.run(command, timeout=SECONDS * len(names), check=False)
            if done.returncode:
                print(f"{names}: ended with {done.returncode}", flush=True)
        except subprocess.TimeoutExpired:
            print(f"{names}: took more than {SECONDS} s each", flush=True)
        if options.refusals:
            options.refusals.write_text("\n".join(refusals(collected(options.folder))) + "\n")
    found = collected(options.folder)
    if options.table:
        options.table.write_text(table(found), encoding="utf-8")
    if any(outcome["kind"] == "DIFFERENT" for ways in found.values() for outcome in ways.values()):
        sys.exit(1)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    main()
