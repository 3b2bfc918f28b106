"""A generated folder whose manifest was damaged: refused by place and value, before anything is compiled."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from codegen import build
from codegen.cli import main
from codegen.emit.output import FORMAT
from codegen.emit.seal import sealed
from codegen.errors import ClgenError, Mismatch, SpecError
from codegen.runtime.artefact import read, read_unchanged
from tests.support.commands import tiny_spec
from tests.support.networks import weights_in

Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Its weights are in one array, so that launches have pointers and numbers of every kind."""
    with weights_in("blob"):
        return build.build(build.lower(tiny_spec(tmp_path)), tmp_path / "out", "cpu")[0]


def change(folder: Path, edit: Change) -> None:
    """Edits the manifest, and mends its own hash: what is left to find is the edit itself."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    edit(manifest)
    path.write_text(json.dumps(sealed(manifest)))


def refused(folder: Path, error: type[ClgenError] = SpecError) -> str:
    with pytest.raises(ClgenError) as caught:
        read_unchanged(folder)
    assert type(caught.value) is error, caught.value
    text = str(caught.value)
    assert text.startswith(f"{folder}") and text.endswith("; build again") and "\n" not in text and len(text) < 1000
    return text.removeprefix(f"{folder / 'manifest.json'}: ").removesuffix("; build again")


def launch(m: dict[str, Any]) -> dict[str, Any]:
    return m["launches"][0]


def pointer(m: dict[str, Any]) -> int:
    """The index of the launch's argument that is the array of weights; the next argument is the offset in it."""
    return next(k for k, a in enumerate(launch(m)["arguments"]) if a["kind"] == "weights")


EDITS: dict[str, tuple[Change, str]] = {
    "no launches": (lambda m: m.pop("launches"), "launches: is missing"),
    "null": (lambda m: m.update(launches=None), "launches: null should be a list of 0 or more"),
    "a key more": (lambda m: m["memory"].update(more=1), "memory.more: is no key of a manifest"),
    "true is no number": (lambda m: m.update(zeros=True), "zeros: true should be a whole number from 0 to 2147483647"),
    "1.0 is no whole number": (
        lambda m: m["inputs"][0]["shape"].__setitem__(1, 3.0),
        "inputs[0].shape[1]: 3.0 should be a whole number from 1 to 2147483647",
    ),
    "size 0": (
        lambda m: m["inputs"][0]["shape"].__setitem__(1, 0),
        "inputs[0].shape[1]: 0 should be a whole number from 1 to 2147483647",
    ),
    "too many elements": (
        lambda m: m["inputs"][0].update(shape=[65536, 65536]),
        "inputs[0].shape: [65536, 65536] makes 4294967296 elements; at most 2147483647 are allowed",
    ),
    "a text for a flag": (
        lambda m: m["outputs"][0].update(channels_last="no"),
        'channels_last: "no" should be true or',
    ),
    "a name of two words": (lambda m: m.update(name="a b"), 'name: "a b" should be a C identifier'),
    "a name that leaves the folder": (lambda m: m.update(name="../x"), 'name: "../x" should be a C identifier'),
    "a file that leaves the folder": (
        lambda m: m["files"].update({"../tiny.h": "0" * 64}),
        'files.../tiny.h: "../tiny.h" should be the name of a file, without folders',
    ),
    "a spec that leaves the folder": (
        lambda m: m["spec"].update(file=".."),
        'spec.file: ".." should be the name of a file, without folders, or empty',
    ),
    "half a hash": (
        lambda m: m["spec"].update(sha256="12ab"),
        'spec.sha256: "12ab" should be a SHA-256 in hexadecimal',
    ),
    "another device type": (
        lambda m: m.update(device_type="TOASTER"),
        'device_type: "TOASTER" should be "CPU" or "GPU" or "accelerator" or "other"',
    ),
    "a backward range": (
        lambda m: m["inputs"][0].update(range=[2, 1]),
        "inputs[0].range: [2, 1] should be [low, high]",
    ),
    "an endless range": (
        lambda m: m["inputs"][0].update(range=[0, 1e39]),
        "inputs[0].range: [0, 1e+39] should be [low, high], two finite",
    ),
    "an option that writes a file": (
        lambda m: m.update(build_options="-save-temps=/tmp/x"),
        'build_options: "-save-temps=/tmp/x" should be definitions of macros, such as "-DWIDE"',
    ),
    "an option behind a good one": (
        lambda m: m["device_options"][0].update(options="-DWIDE -I/etc"),
        'device_options[0].options: "-DWIDE -I/etc" should be definitions',
    ),
    "a macro that is code": (
        lambda m: m.update(build_options="-DWIDE=system(1)"),
        'build_options: "-DWIDE=system(1)" should be definitions',
    ),
    "half a float": (
        lambda m: m["memory"].update(arena_bytes=5),
        "memory.arena_bytes: 5 should be a multiple of 4, the bytes of a float",
    ),
    "a huge arena": (
        lambda m: m["memory"].update(arena_bytes=10**15),
        "memory.arena_bytes: 1000000000000000 should be a whole number from 0 to 17179869180",
    ),
    "other weights": (
        lambda m: m["memory"].update(weights_bytes=4),
        "memory.weights_bytes: 4 should be 1024, the size of the file",
    ),
    "no such buffer": (lambda m: m["tensors"]["image"].update(index=1), "tensors.image.index: buffer input 1 is not"),
    "no type": (lambda m: m["inputs"][0].update(type="float31"), 'inputs[0].type: "float31" should be "float32" or'),
    "not the kernel's type": (
        lambda m: m["inputs"][0].update(type="uint8"),
        "buffer input holds uint8, but kernel tiny_",
    ),
    "no name of its own": (lambda m: m["inputs"][0].update(original=""), 'inputs[0].original: "" should be text'),
    "beyond the buffer": (
        lambda m: m["tensors"]["image"].update(offset=1),
        "tensors.image: ends at element 126 of buffer input 0, which has 126",
    ),
    "a stride less": (
        lambda m: m["tensors"]["image"]["strides"].pop(),
        "tensors.image.strides: has 3 numbers for 4 sizes",
    ),
    "a negative stride": (
        lambda m: m["tensors"]["image"]["strides"].__setitem__(0, -1),
        "tensors.image.strides[0]: -1 should be a whole number from 0 to 4294967295",
    ),
    "an unknown kernel": (lambda m: launch(m).update(kernel="tiny_tail"), 'launches[0].kernel: "tiny_tail" is none of'),
    "an argument less": (lambda m: launch(m)["arguments"].pop(), "launches[0].arguments: are "),
    "no items": (
        lambda m: launch(m)["global"].__setitem__(0, 0),
        "launches[0].global[0]: 0 should be a whole number from 1 to 2147483647",
    ),
    "years of items": (
        lambda m: launch(m).update({"global": [2**31 - 1, 2**31 - 1, 1]}),
        "launches[0].global: [2147483647, 2147483647, 1] makes 4611686014132420609 items; "
        "at most 1099511627776 are allowed",
    ),
    "a number for a buffer": (
        lambda m: launch(m)["arguments"][0].update(kind="number"),
        'launches[0].arguments[0].kind: "number" should be a buffer',
    ),
    "a buffer for a number": (
        lambda m: launch(m)["arguments"][1].update(kind="arena"),
        'launches[0].arguments[1].kind: "arena" should be a number',
    ),
    "beyond the weights": (
        lambda m: launch(m)["arguments"][pointer(m) + 1].update(value=2**31),
        "value: 2147483648 is not in buffer weights, which has 256 elements",
    ),
    "an unknown tensor": (
        lambda m: launch(m).update(reads=["ghost"]),
        'launches[0].reads: "ghost" is none of the tens',
    ),
    "an output of nothing": (lambda m: m["outputs"][0].update(tensor="ghost"), 'outputs[0].tensor: "ghost" is none of'),
    "two of a name": (lambda m: m["outputs"][0].update(name="IMAGE"), 'outputs[0].name: "IMAGE" is there twice'),
    "half a character": (lambda m: launch(m).update(title="\ud800"), 'launches[0].title: "\\ud800" should be one line'),
    "a long value": (lambda m: m.update(zeros="9" * 10**6), 'zeros: "99999'),
    "a number of many digits": (lambda m: m.update(zeros=10**4000), "zeros: 1000000"),
    "another format": (lambda m: m.update(format=2), f"format: 2 is of another version of clgen, not {FORMAT}"),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_is_named(folder: Path, name: str) -> None:
    edit, said = EDITS[name]
    change(folder, edit)
    assert said in refused(folder)


BYTES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is no manifest of clgen (Expecting value"),
    "a list": (b"[]", "is no manifest of clgen (it should be an object"),
    "NaN": (b'{"format": NaN}', "is no manifest of clgen (NaN is not a number of JSON)"),
    "infinity": (b'{"format": -Infinity}', "is no manifest of clgen (-Infinity is not a number of JSON)"),
    "a key twice": (b'{"format": 3, "format": 3}', 'is no manifest of clgen (key "format" is there twice)'),
    "not UTF-8": (b'{"format": "\xff"}', "is no manifest of clgen ("),
    "a byte order mark": (b'\xef\xbb\xbf{"format": 3}', "is no manifest of clgen ("),
    "too deep": (b"[" * 10**6, "is no manifest of clgen (nested too deeply)"),
    "too many digits": (b'{"format": ' + b"9" * 10**5 + b"}", "is no manifest of clgen ("),
}


@pytest.mark.parametrize("name", BYTES)
def test_what_is_no_manifest(folder: Path, name: str) -> None:
    content, said = BYTES[name]
    (folder / "manifest.json").write_bytes(content)
    assert said in refused(folder)


@pytest.mark.parametrize("name", ["manifest.json", "tiny.cl", "tiny_weights.c.bin"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_file(folder: Path, name: str, make: Callable[[Path], None]) -> None:
    """A pipe would keep a reader waiting, and a device may have no end."""
    (folder / name).unlink()
    make(folder / name)
    with pytest.raises((SpecError, Mismatch), match=f"{name}: is not a regular file; "):
        read(folder)


def test_an_endless_manifest(folder: Path) -> None:
    with (folder / "manifest.json").open("r+b") as file:
        file.truncate(2**40)  # sparse: it takes no room
    assert refused(folder) == "has 1099511627776 bytes; at most 67108864 are allowed"


@pytest.mark.parametrize(
    "edit",
    [
        lambda m: launch(m)["global"].__setitem__(0, 1000),
        lambda m: launch(m)["arguments"][1].update(value=125),
        lambda m: launch(m).update(node="other"),
    ],
)
def test_a_change_that_is_possible(folder: Path, edit: Change) -> None:
    """Numbers in range may still lead a kernel out of its buffers: what is run unseen is as it was generated."""
    manifest = json.loads((folder / "manifest.json").read_text())
    edit(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    read(folder)
    assert refused(folder, Mismatch) == "not the manifest that was generated (its SHA-256 is not manifest_sha256)"


def test_another_order_is_the_same_manifest(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(dict(reversed(manifest.items()))))
    read_unchanged(folder)


@pytest.mark.parametrize("command", ["run", "bench", "verify"])
def test_commands_refuse(folder: Path, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent.parent)
    arguments = [command, str(folder), *(["--inputs", "x.npz", "--outputs", "y.npz"] if command == "run" else [])]
    manifest = json.loads((folder / "manifest.json").read_text())
    launch(manifest)["global"][0] = 1000
    (folder / "manifest.json").write_text(json.dumps(manifest))
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 5 and "build again" in done.output and isinstance(done.exception, SystemExit)
    launch(manifest)["global"][0] = -1
    (folder / "manifest.json").write_text(json.dumps(manifest))
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 2 and "launches[0].global[0]: -1 should be a whole number" in done.output
