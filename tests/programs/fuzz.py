"""Damages files of every kind at random and runs the command on them, each time in a process of its own.

    python -m tests.programs.fuzz [--count 1000] [--seed 0] [--kind spec --kind manifest ...] [--keep FOLDER]

Prints what is no clear end: a traceback, a crash, a hang, an exit code that is none of the contract's, a temporary
file that is left, an error of many lines; ends with 1 if there was any.  ``--keep`` gets the files that show it.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import json
import os
import pickle
import random
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import tomli
import tomli_w
from numpy.typing import NDArray

from codegen import build
from codegen.cli import main
from codegen.emit.seal import sealed
from tests.importers.test_damaged_models import BYTE_CHANGES, ONNX_CHANGES, change_tree, onnx_models
from tests.support.commands import SPEC, tiny_spec
from tests.support.wild_specs import wild_spec

ALLOWED = (0, 1, 2, 3, 4, 5, 130)
SECONDS = 30  # of processor time, of one command
MEMORY = 4 * 2**30  # bytes that one command may take beyond what this process has

Arguments = list[str]
Kind = Callable[[Path, random.Random], Arguments]
"""Puts a damaged file into the folder, a copy of :func:`base`'s; the command's arguments."""

TUNED = """
[[device]]
name = "A device"
driver = "1.0"
target = "cpu"
[device.layers]
stem = "direct"
"""


def base(folder: Path) -> None:
    """The files to damage: a spec with its weights in every format, its artefact, inputs, measured schedules."""
    spec = tiny_spec(folder)
    with np.load(folder / "tiny.npz") as archive:
        arrays = {name: np.ascontiguousarray(array, np.float32) for name, array in archive.items()}
    (folder / "tiny.safetensors").write_bytes(safetensors.numpy.save(arrays))
    (folder / "zip.pth").write_bytes(checkpoint(arrays))
    (folder / "legacy.pth").write_bytes(old_checkpoint(arrays))
    np.savez(folder / "x.npz", image=np.ones((1, 3, 6, 7), np.float32))
    build.build(build.lower(spec), folder / "out", "cpu")


def checkpoint(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """The file that torch.save writes for a state_dict of float32 tensors."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("net/data.pkl", state_dict(arrays))
        for k, array in enumerate(arrays.values()):
            archive.writestr(f"net/data/{k}", array.astype("<f4").tobytes())
    return stream.getvalue()


def old_checkpoint(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """The same before PyTorch 1.6."""
    head = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    parts = [*(pickle.dumps(value, 2) for value in head), state_dict(arrays)]
    parts.append(pickle.dumps([str(k) for k in range(len(arrays))], 2))
    parts += [struct.pack("<q", array.size) + array.astype("<f4").tobytes() for array in arrays.values()]
    return b"".join(parts)


def state_dict(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """The pickle: calls of torch's functions, written down as torch is not here."""

    def word(text: str) -> bytes:
        return b"X" + struct.pack("<I", len(text)) + text.encode()

    def whole(number: int) -> bytes:
        return b"J" + struct.pack("<i", number)

    items = b""
    for k, (name, array) in enumerate(arrays.items()):
        storage = word("storage") + b"ctorch\nFloatStorage\n" + word(str(k)) + word("cpu") + whole(array.size)
        shape = b"(" + b"".join(map(whole, array.shape)) + b"t"
        strides = b"(" + b"".join(whole(s // array.itemsize) for s in array.strides) + b"t"
        items += word(name) + b"ctorch._utils\n_rebuild_tensor_v2\n((" + storage + b"tQ" + whole(0) + shape + strides
        items += b"\x89ccollections\nOrderedDict\n)RtR"
    return b"\x80\x02}(" + items + b"u."


def damaged_bytes(data: bytes, chosen: random.Random) -> bytes:
    return chosen.choice(BYTE_CHANGES)(data, chosen) if data else data


def spec_kind(folder: Path, chosen: random.Random) -> Arguments:
    path = folder / "tiny.toml"
    tree = tomli.loads(wild_spec(chosen.randrange(10**6), 4).text() if chosen.random() < 0.5 else SPEC)
    for _ in range(chosen.choice((1, 1, 2, 4))):
        change_tree(tree, chosen)
    content = path.read_bytes()
    with contextlib.suppress(TypeError, ValueError, AttributeError):  # TOML has no null
        content = tomli_w.dumps(tree).encode()
    path.write_bytes(damaged_bytes(content, chosen) if chosen.random() < 0.3 else content)
    return [chosen.choice(("explain", "list", "explain")), str(path)]


def weights_kind(folder: Path, chosen: random.Random) -> Arguments:
    name = chosen.choice(("tiny.npz", "tiny.safetensors", "zip.pth", "legacy.pth"))
    path = folder / name
    path.write_bytes(damaged_bytes(path.read_bytes(), chosen))
    (folder / "tiny.toml").write_text(SPEC.replace("tiny.npz", name))
    return ["explain", str(folder / "tiny.toml")]


def manifest_kind(folder: Path, chosen: random.Random) -> Arguments:
    path = folder / "out" / "tiny" / "manifest.json"
    tree = json.loads(path.read_text())
    for _ in range(chosen.choice((1, 1, 2, 4))):
        change_tree(tree, chosen)
    if isinstance(tree, dict) and chosen.random() < 0.3 and "launches" not in tree:
        tree = sealed(tree)  # what is not there is found, whatever the hash says
    content = json.dumps(tree).encode()
    path.write_bytes(damaged_bytes(content, chosen) if chosen.random() < 0.3 else content)
    return on_folder(folder, chosen)


def on_folder(folder: Path, chosen: random.Random) -> Arguments:
    command = chosen.choice(("run", "bench", "verify"))
    files = ["--inputs", str(folder / "x.npz"), "--outputs", str(folder / "y.npz")] if command == "run" else []
    return [command, str(folder / "out" / "tiny"), *files]


def generated_kind(folder: Path, chosen: random.Random) -> Arguments:
    path = chosen.choice(sorted(p for p in (folder / "out" / "tiny").iterdir() if p.name != "example.c"))
    path.write_bytes(damaged_bytes(path.read_bytes(), chosen))
    return on_folder(folder, chosen)


def inputs_kind(folder: Path, chosen: random.Random) -> Arguments:
    path = folder / "x.npz"
    path.write_bytes(damaged_bytes(path.read_bytes(), chosen))
    return ["run", str(folder / "out" / "tiny"), "--inputs", str(path), "--outputs", str(folder / "y.npz")]


def tune_kind(folder: Path, chosen: random.Random) -> Arguments:
    tree = tomli.loads(TUNED)
    for _ in range(chosen.choice((1, 1, 2))):
        change_tree(tree, chosen)
    content = TUNED.encode()
    with contextlib.suppress(TypeError, ValueError, AttributeError):
        content = tomli_w.dumps(tree).encode()
    path = folder / "tiny.tune.toml"
    path.write_bytes(damaged_bytes(content, chosen) if chosen.random() < 0.4 else content)
    return ["list", str(folder / "tiny.toml")]


def onnx_kind(folder: Path, chosen: random.Random) -> Arguments:
    proto = copy.deepcopy(chosen.choice(ONNX))
    if chosen.random() < 0.7:
        for _ in range(chosen.choice((1, 1, 2, 3))):
            chosen.choice(ONNX_CHANGES)(proto, chosen)
        content = proto.SerializeToString()
    else:
        content = damaged_bytes(proto.SerializeToString(), chosen)
    (folder / "net.onnx").write_bytes(content)
    return ["explain", str(folder / "net.onnx")]


def keras_kind(folder: Path, chosen: random.Random) -> Arguments:
    from tests.importers.test_import_keras import nested
    from tests.support.keras_models import write_h5, write_keras

    suffix = chosen.choice((".keras", ".h5"))
    path = folder / f"net{suffix}"
    if suffix == ".keras":
        write_keras(path, nested(0)[0])
    else:
        write_h5(path, nested(0)[0], 3)
    path.write_bytes(damaged_bytes(path.read_bytes(), chosen))
    return ["explain", str(path)]


KINDS: Mapping[str, Kind] = {
    "spec": spec_kind,
    "weights": weights_kind,
    "manifest": manifest_kind,
    "generated": generated_kind,
    "inputs": inputs_kind,
    "tune": tune_kind,
    "onnx": onnx_kind,
    "keras": keras_kind,
}
ONNX: list[Any] = []


@dataclass(frozen=True)
class End:
    """The end of a command: ``fault`` says what is wrong with it, "" if nothing is."""

    fault: str
    code: int
    text: str


def run(arguments: Sequence[str], folder: Path) -> End:
    """The command in a child with limits of its own; its folder for temporary files is empty before and after."""
    scratch, said = folder / "scratch", folder / "said.txt"
    scratch.mkdir()
    before = {path.name for path in folder.iterdir()}
    child = os.fork()
    if child == 0:
        _command(arguments, scratch, said)
    status, used = os.wait4(child, 0)[1:]
    text = said.read_text(errors="replace")
    code = os.waitstatus_to_exitcode(status)
    left = [path.name for path in scratch.iterdir()]
    left += [path.name for path in folder.iterdir() if path.name.startswith(".") and path.name not in before]
    error = text.partition("clgen: error: ")[2]
    if code < 0:
        fault = f"{signal.Signals(-code).name} after {used.ru_utime:.0f} s"
    elif "Traceback (most recent call last)" in text:
        fault = "a traceback"
    elif code not in ALLOWED:
        fault = f"exit code {code}"
    elif left:
        fault = f"left behind: {', '.join(left)}"
    elif len(error) > 20_000:
        fault = f"an error of {len(error)} characters"
    else:
        fault = ""
    return End(fault, code, text)


def _command(arguments: Sequence[str], scratch: Path, said: Path) -> None:
    """The child's part; does not return."""
    code = 99
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        size = pages * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (size, size))
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 5))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.alarm(10 * SECONDS)
        os.environ["TMPDIR"] = tempfile.tempdir = str(scratch)
        sys.stdout = sys.stderr = said.open("w")
        os.dup2(sys.stdout.fileno(), 1)
        os.dup2(sys.stdout.fileno(), 2)
        try:
            main(list(arguments), prog_name="clgen")
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def fuzz(kinds: Sequence[str], count: int, seed: int, keep: Path | None = None) -> Iterator[tuple[str, int, End]]:
    """Runs ``count`` commands of each kind; yields the kind, the seed and the end of each."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as parent:
        whole = Path(parent, "whole")
        whole.mkdir()
        base(whole)
        if "onnx" in kinds and not ONNX:
            ONNX.extend(onnx_models())
        for k in range(seed, seed + count):
            for kind in kinds:
                folder = Path(parent, "case")
                shutil.copytree(whole, folder)
                arguments = KINDS[kind](folder, random.Random(f"{kind} {k}"))
                end = run(arguments, folder)
                if end.fault and keep is not None:
                    shutil.copytree(folder, keep / f"{kind}-{k}", dirs_exist_ok=True)
                shutil.rmtree(folder)
                yield kind, k, end


def command_line() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100, help="commands of each kind")
    parser.add_argument("--seed", type=int, default=0, help="the first one; each file is made from its own")
    parser.add_argument("--kind", choices=list(KINDS), action="append", help="default: all")
    parser.add_argument("--keep", type=Path, help="folder for the files that show a fault")
    options = parser.parse_args()
    codes: Counter[tuple[str, int]] = Counter()
    faults, started = 0, time.monotonic()
    for kind, seed, end in fuzz(options.kind or list(KINDS), options.count, options.seed, options.keep):
        codes[kind, end.code] += 1
        if end.fault:
            faults += 1
            print(f"{kind} {seed}: {end.fault}\n{end.text[-1500:]}", flush=True)
    for (kind, code), number in sorted(codes.items()):
        print(f"{kind:10} exit code {code:3}: {number}")
    print(f"{sum(codes.values())} commands, {faults} faults, {time.monotonic() - started:.0f} s")
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(command_line())
