"""Files that are made to do harm: each is refused within seconds, by a message of a few lines, and none is executed."""

from __future__ import annotations

import io
import os
import pickle
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from commands import SPEC, tiny_spec

from codegen import build
from codegen.errors import ClgenError
from codegen.frontend.archive import Unreadable
from codegen.frontend.checkpoint import read_checkpoint
from codegen.frontend.locate import find_spec
from codegen.frontend.pickled import unpickle
from codegen.importers.open import open_model

SECONDS = 5  # at most, on a machine that does other things as well


def checkpoint(instructions: bytes) -> bytes:
    """A file of torch.save whose pickle has these instructions."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02" + instructions + b".")
        archive.writestr("a/data/0", bytes(16))
    return stream.getvalue()


def word(text: str) -> bytes:
    return b"X" + struct.pack("<I", len(text)) + text.encode()


DOUBLED = b")" + b"2\x86" * 200  # () in a pair with itself, 200 times: a value of 2^200 parts
STORAGE = b"(" + word("storage") + b"ctorch\nFloatStorage\n" + word("0") + word("cpu") + b"K\x04tQ"
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"
ENTRY = b"}" + word("w")

BOMBS = {
    "a size": (ENTRY + REBUILD + b"(" + STORAGE + b"K\x00" + b"(" + DOUBLED + b"t)tRs", "a tuple where a size"),
    "a shape": (ENTRY + REBUILD + b"(" + STORAGE + b"K\x00" + DOUBLED + b")tRs", "a tuple where a size"),
    "a storage": (ENTRY + REBUILD + b"(" + DOUBLED + b"K\x00))tRs", "'tuple' object has no attribute"),
    "a key": (
        ENTRY + b"(" + word("storage") + b"ctorch\nFloatStorage\n" + DOUBLED + word("cpu") + b"K\x04tQs",
        "a storage without its class or key",
    ),
    "a function's name": (b"(" + DOUBLED + word("x") + b"\x93)R", "names a function by something else than texts"),
    "a name of its own": (b"cos\nsystem\n" + b"(" + DOUBLED + b"tR", "holds an object of class os.system"),
    "a value of nothing": (ENTRY + DOUBLED + b"s", "holds no tensors"),
    "a long number": (b"}" + b"\x8b" + struct.pack("<I", 10**6) + b"\x7f" * 10**6 + b"K\x01s", "holds no tensors"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_values_that_grow_by_reference(name: str) -> None:
    instructions, said = BOMBS[name]
    started = time.monotonic()
    with pytest.raises(Unreadable) as caught:
        read_checkpoint(checkpoint(instructions))
    assert time.monotonic() - started < SECONDS
    assert said in str(caught.value) and len(str(caught.value)) < 500


def test_work_that_grows_by_reference() -> None:
    """A list of 50,000 pairs, and 10,000 times a dictionary of it."""
    pair = word("k") + b"N\x86"
    pairs = b"](" + pair + b"2" * 49_999 + b"eq\x00" + b"0"
    calls = b"ccollections\nOrderedDict\nh\x00\x85R0" * 10_000
    started = time.monotonic()
    with pytest.raises(Unreadable, match="functions are given more than"):
        read_checkpoint(checkpoint(pairs + calls + b"}"))
    assert time.monotonic() - started < 10 * SECONDS


def test_more_instructions_than_a_checkpoint_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codegen.frontend.pickled.MOST_INSTRUCTIONS", 1000)
    with pytest.raises(Unreadable, match="a pickle of more than 1000 instructions"):
        read_checkpoint(checkpoint(b"N0" * 1000 + b"}"))


def test_what_is_sound_is_read() -> None:
    """The bounds leave alone what data is made of."""
    value = {"a": [1, 2.5, None, True, ("x", "y")], "b": {"c": {}}, 3: -(2**40)}
    for protocol in (2, 3, 4, 5):
        assert unpickle(io.BytesIO(pickle.dumps(value, protocol)), {}, lambda identity: identity) == value


@pytest.mark.parametrize("suffix", [".toml", ".onnx", ".keras", ".h5"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_file(suffix: str, make: Callable[[Path], None], tmp_path: Path) -> None:
    """Nobody writes to the pipe: whoever opens it waits for ever."""
    path = tmp_path / f"net{suffix}"
    make(path)
    with pytest.raises(ClgenError, match=f"net{suffix}: is (not a regular file|a folder)"):
        open_model(path)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".pth"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_weights_that_are_no_file(suffix: str, make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / f"tiny{suffix}")
    (tmp_path / "tiny.toml").write_text(SPEC.replace("tiny.npz", f"tiny{suffix}"))
    with pytest.raises(ClgenError, match=f"tiny{suffix} is not a regular file"):
        open_model(tmp_path / "tiny.toml")


@pytest.mark.parametrize("name", ["tiny.tune.toml", "tiny.toml"])
def test_a_pipe_beside_the_spec(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file of measured schedules, and what is found by a spec's name where an artefact's spec is looked for."""
    spec = tiny_spec(tmp_path)
    if name == spec.name:
        other = tmp_path / "other"
        other.mkdir()
        os.mkfifo(other / name)
        monkeypatch.chdir(other)
        sha256 = build.lower(spec).model.spec_sha256
        assert find_spec(name, sha256, tmp_path / "out" / "tiny") == spec
    else:
        os.mkfifo(tmp_path / name)
        with pytest.raises(ClgenError, match=f"{name}: is not a regular file"):
            build.planned(build.lower(spec), "cpu")


def test_a_spec_without_an_end(tmp_path: Path) -> None:
    spec = tiny_spec(tmp_path)
    with spec.open("r+b") as file:
        file.truncate(2**40)  # sparse: it takes no room
    with pytest.raises(ClgenError, match="has 1099511627776 bytes; 67108864 are the most of a TOML file"):
        open_model(spec)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "has no [model] table"),
        (b"\xef\xbb\xbf", "has no [model] table"),
        (b"\x00" * 100, "is not valid TOML"),
        (b"a = 1\r\n", 'unknown key "a"'),
        (b"a = 'x\r\n", "is not valid TOML"),
        (b"\xff\xfe[\x00m\x00", "byte 0 is not UTF-8"),
        (b"a = " + b"[" * 5000, "nested too deeply"),
        (b"a = 1" + b"0" * 10**5, "is not valid TOML"),
        (b"a." * 50_000 + b"a = 1", "nested too deeply"),
    ],
)
def test_what_is_no_spec(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(content)
    with pytest.raises(ClgenError) as caught:
        open_model(path)
    assert said in str(caught.value) and len(str(caught.value)) < 1000


def test_limits_are_never_raised(tmp_path: Path) -> None:
    """The process that reads HDF5 takes at most what its parent may have."""
    script = (
        "import resource; from codegen.importers.keras.extract import limit_memory\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31)); limit_memory(10)\n"
        "print(resource.getrlimit(resource.RLIMIT_AS))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.stdout.strip() == f"({2**31}, {2**31})", done.stderr


def test_npz_headers_that_lie(tmp_path: Path) -> None:
    """A member of a few bytes that says it has 2^40 elements."""
    spec = tiny_spec(tmp_path)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (2**20, 2**20)})
    with zipfile.ZipFile(tmp_path / "tiny.npz", "w") as archive:
        archive.writestr("stem.weight.npy", header.getvalue() + bytes(16))
    with pytest.raises(ClgenError, match="1099511627776 elements; 268435456 are the most"):
        open_model(spec)
