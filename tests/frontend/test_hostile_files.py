"""Files that are made to do harm: each is refused within seconds, by a message of a few lines, and none is executed."""

from __future__ import annotations

import io
import os
import pickle
import struct
import subprocess
import sys
import time
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from codegen import build
from codegen.errors import ClgenError, ParameterError, SpecError
from codegen.frontend.parameters.archive import Unreadable
from codegen.frontend.parameters.checkpoint import read_checkpoint
from codegen.frontend.parameters.pickled import unpickle
from codegen.frontend.toml import find_spec
from codegen.importers.open import open_model
from codegen.runtime.artefact import Artefact, read
from codegen.runtime.samples import read_sample
from tests.support.commands import SPEC, tiny_spec
from tests.support.values import save_npz

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
    monkeypatch.setattr("codegen.frontend.parameters.pickled.MOST_INSTRUCTIONS", 1000)
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
    with pytest.raises(ClgenError, match="has 1099511627776 bytes; at most 67108864 are allowed in a TOML file"):
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
    with pytest.raises(ClgenError, match="1099511627776 elements; at most 268435456 are allowed"):
        open_model(spec)


# ---- run --inputs ---------------------------------------------------------------------------------------------------


def member(array: NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array)
    return stream.getvalue()


def zipped(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that are there twice
        for name, content in members.items():
            archive.writestr(name.replace("__", "."), content)
        if "twice__npy" in members:
            archive.writestr("twice.npy", members["twice__npy"])
    return stream.getvalue()


def lying(shape: tuple[int, ...], content: bytes, descr: str = "<f4") -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": descr, "fortran_order": False, "shape": shape})
    return stream.getvalue() + content


ONES = member(np.ones((1, 3, 6, 7), np.float32))
WHOLE = zipped(image__npy=ONES)
INPUTS = {
    "one array": (ONES, "is one array without a name; write an .npz: numpy.savez(FILE, NAME=array)"),
    "empty": (b"", "is not an .npz of arrays of numbers, or is damaged"),
    "truncated": (WHOLE[:-30], "is not an .npz of arrays of numbers, or is damaged"),
    "a damaged byte": (WHOLE[:60] + b"\xff\xff" + WHOLE[62:], "is not an .npz of arrays of numbers, or is damaged"),
    "a raw member": (zipped(image__npy=ONES, readme__txt=b"hello"), 'its member "readme.txt" is not an array (.npy)'),
    "objects": (
        zipped(image__npy=lying((1,), pickle.dumps(print), "|O")),
        'array "image" holds Python objects, which are not read',
    ),
    "a lying header": (zipped(image__npy=lying((2**20, 2**20), bytes(16))), 'array "image" has 16 bytes for [1048576'),
    "twice": (zipped(twice__npy=ONES), 'its member "twice.npy" is there twice'),
    "another name": (zipped(photo__npy=ONES), 'array "photo" is no input of tiny; inputs: '),
    "another type": (zipped(image__npy=member(np.full((1, 3, 6, 7), "x"))), "is [1, 3, 6, 7] of <U1; it should be"),
    "complex": (zipped(image__npy=member(np.ones((1, 3, 6, 7), np.complex64))), "of complex64; it should be"),
    "another shape": (
        zipped(image__npy=member(np.ones(126, np.float32))),
        "is [126] of float32; it should be [",
    ),
    "encrypted": (
        WHOLE.replace(b"PK\x01\x02\x14\x03\x14\x00\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01\x00"),
        "encrypted",
    ),
    "a long header": (zipped(image__npy=b"\x93NUMPY\x02\x00\xff\xff\xff\x7f" + bytes(2**24)), "is not an .npz"),
}


@pytest.fixture(scope="module")
def artefact(tmp_path_factory: pytest.TempPathFactory) -> Artefact:
    folder = tmp_path_factory.mktemp("tiny")
    return read(build.build(build.lower(tiny_spec(folder)), folder / "out", "cpu")[0])


@pytest.mark.parametrize("name", INPUTS)
def test_inputs_that_are_none(name: str, artefact: Artefact, tmp_path: Path) -> None:
    content, said = INPUTS[name]
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(ParameterError) as caught:
        read_sample(artefact, tmp_path / "x.npz")
    text = str(caught.value)
    assert text.startswith(f"{tmp_path / 'x.npz'}: ") and said in text and "\n" not in text and len(text) < 700


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_inputs_that_are_no_file(make: Callable[[Path], None], artefact: Artefact, tmp_path: Path) -> None:
    make(tmp_path / "x.npz")
    with pytest.raises(SpecError, match=r"is not a regular file; give an \.npz with the inputs"):
        read_sample(artefact, tmp_path / "x.npz")


def test_inputs_that_are_sound(artefact: Artefact, tmp_path: Path) -> None:
    for version in ((1, 0), (2, 0), (3, 0)):
        stream = io.BytesIO()
        np.lib.format.write_array(stream, np.asfortranarray(np.ones((1, 3, 6, 7))), version=version)
        (tmp_path / "x.npz").write_bytes(zipped(image__npy=stream.getvalue()))
        assert np.all(read_sample(artefact, tmp_path / "x.npz")["image"] == 1)


# ---- memory ---------------------------------------------------------------------------------------------------------


def limited(code: str, megabytes: int, folder: Path) -> subprocess.CompletedProcess[str]:
    """Python code in a process that may have so much memory."""
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({megabytes} * 2**20,) * 2)\n"
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", limit + code]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=folder, timeout=60)


def test_a_tensor_for_which_there_is_no_memory(tmp_path: Path) -> None:
    """[1, 12000, 12000] in float64 takes 1.15 GB; it is refused by name before it is made."""
    text = SPEC.replace("[3, 6, 7]", "[12000]").split("[[layer]]")[0].replace('weights = "tiny.npz"', "")
    text += '[[layer]]\nname = "row"\nop = "reshape"\nshape = [1, 12000]\n'
    text += '[[layer]]\nname = "column"\nop = "reshape"\ninput = "image"\nshape = [12000, 1]\n'
    text += '[[layer]]\nname = "product"\nop = "matmul"\ninputs = ["column", "row"]\n[[output]]\nname = "product"\n'
    (tmp_path / "large.toml").write_text(text)
    code = "from codegen.cli import main; main(['build', 'large.toml'])"
    done = limited(code, 1000, tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert "large.toml: tensor 'product' [1, 12000, 12000] in float64 takes 1152000000 bytes, and " in done.stderr
    assert "bytes of memory are free here" in done.stderr


def test_a_tensor_of_a_file_for_which_there_is_no_memory(tmp_path: Path) -> None:
    """The numbers are zeros, so that half a gigabyte of them is half a megabyte in the file."""
    spec = tiny_spec(tmp_path)
    zeros = np.zeros((2**26, 2), np.float32)
    save_npz(tmp_path / "tiny.npz", {"stem.weight": zeros}, compressed=True)
    del zeros
    done = limited(f"from codegen.cli import main; main(['build', {str(spec)!r}])", 550, tmp_path)
    assert done.returncode == 3 and "Traceback" not in done.stderr, done.stderr
    assert 'tensor "stem.weight" of ' in done.stderr and "takes 536870912 bytes, and " in done.stderr
