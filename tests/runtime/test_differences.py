"""verify DIR: what is in a generated folder against what its spec gives, bit for bit, before anything runs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codegen import build, opening
from codegen.emit.differences import differences
from codegen.errors import ClgenError, Mismatch, SpecError
from tests.support.artefacts import rewrite
from tests.support.commands import tiny_spec
from tests.support.networks import weights_in

Change = Callable[[dict[str, Any]], None]


@pytest.fixture(params=["tables", "blob"])
def built(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """The folder of a spec beside it, its weights in tables of the kernels or in one array."""
    with weights_in(request.param):
        yield generated(tiny_spec(tmp_path))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return generated(tiny_spec(tmp_path))


def generated(spec: Path, target: str = "cpu", tuned_for: str = "") -> Path:
    return build.build(build.lower(spec, tuned_for=tuned_for), spec.parent / "generated", target)[0]


def refused(folder: Path, error: type[ClgenError] = Mismatch, target: str | None = None, tuned_for: str = "") -> str:
    """The message with which a folder is refused."""
    with pytest.raises(ClgenError) as caught:
        opened(folder, target, tuned_for)
    assert type(caught.value) is error, caught.value
    return str(caught.value)


def opened(folder: Path, target: str | None = None, tuned_for: str = "") -> None:
    spec = folder.parent.parent / "tiny.toml"
    opening.verifiable(folder, spec, target, folder.parent.parent / "scratch", tuned_for=tuned_for)


def change_manifest(folder: Path, change: Change) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def test_what_was_built_is_what_the_spec_gives(built: Path) -> None:
    opened(built)
    opened(built, target="cpu", tuned_for="none")


def test_the_example_is_the_users(folder: Path) -> None:
    example = folder / "example.c"
    assert "Yours to edit: clgen build keeps an edited one." in example.read_text()
    assert "do not edit" not in example.read_text()
    example.write_text("int main(void) { return 0; }\n")
    opened(folder)
    example.unlink()
    opened(folder)


@pytest.mark.parametrize("built", ["blob"], indirect=True)
def test_a_bit_of_the_weights(built: Path) -> None:
    folder = built
    blob = folder / "tiny_weights.c.bin"
    content = bytearray(blob.read_bytes())
    values = np.frombuffer(bytes(content), "<u4")
    at = int(np.flatnonzero(values)[20])
    was = np.frombuffer(bytes(content), "<f4")[at]
    content[4 * at + 3] ^= 0x04  # of the exponent: a factor of 2^8
    now = np.frombuffer(bytes(content), "<f4")[at]
    assert abs(now / was) in (2.0**8, 2.0**-8)
    rewrite(blob, bytes(content))
    said = refused(folder)
    assert "is not what" in said and "tiny.toml gives; build again" in said
    assert f"tiny_weights.c.bin: float {at}, number {at} of the weights of launch 'stem': is {now!s} (" in said
    assert f"), the spec gives {was!s} (" in said
    assert "manifest.json" not in said  # its hash is no difference of its own
    # A flipped sign of zero, and a NaN, are found as well; so is a missing end.
    zero = int(np.flatnonzero(values == 0)[0])
    signed = values.copy()
    signed[zero] = 0x80000000
    rewrite(blob, signed.tobytes())
    assert "is -0.0 (0x80000000), the spec gives 0.0 (0x00000000)" in refused(folder)
    signed[zero] = 0x7FC00000
    rewrite(blob, signed.tobytes())
    assert "is nan (0x7fc00000), the spec gives 0.0 (0x00000000)" in refused(folder)
    rewrite(blob, bytes(content[:-4]))
    said = refused(folder, SpecError)
    assert f"memory.weights_bytes: {len(content)} should be {len(content) - 4}, the size of the file" in said


def test_a_number_of_a_table(folder: Path) -> None:
    kernels = folder / "tiny.cl"
    lines = kernels.read_text().split("\n")
    start = next(k for k, line in enumerate(lines) if line.startswith("TABLE(tiny_stem_weight, "))
    row = next(k for k in range(start + 1, len(lines)) if "0x1." in lines[k])
    lines[row] = lines[row].replace("0x1.", "0x1.0", 1)
    rewrite(kernels, "\n".join(lines).encode())
    said = refused(folder)
    assert f"tiny.cl: line {row + 1}, table tiny_stem_weight: is '" in said and "0x1.0" in said


@pytest.mark.parametrize("name", ["tiny.h", "tiny.c", "tiny.cl", "CMakeLists.txt", "README.md"])
def test_a_line_of_a_file(folder: Path, name: str) -> None:
    path = folder / name
    text = path.read_text()
    rewrite(path, (text + "// more\n").encode())
    count = text.count("\n")
    assert f"{name}: line {count + 1}: is '// more', the spec gives ''" in refused(folder)
    rewrite(path, text[: text.rindex("\n", 0, -1) + 1].encode())
    said = refused(folder)
    assert re.search(rf"{re.escape(name)}: line {count}(, table \w+)?: is '', the spec gives '.+'", said)


def test_a_size_in_the_header(folder: Path) -> None:
    header = folder / "tiny.h"
    text = header.read_text()
    assert "#define TINY_INPUT_IMAGE_COUNT  126\n" in text
    rewrite(header, text.replace("IMAGE_COUNT  126", "IMAGE_COUNT  127").encode())
    line = text[: text.index("#define TINY_INPUT_IMAGE_COUNT")].count("\n") + 1
    assert (
        f"tiny.h: line {line}: is '#define TINY_INPUT_IMAGE_COUNT  127', "
        "the spec gives '#define TINY_INPUT_IMAGE_COUNT  126'"
    ) in refused(folder)


MANIFESTS: dict[str, tuple[Change, str]] = {
    "shape": (lambda m: m["inputs"][0].update(shape=[1, 3, 6, 8]), "inputs[0].shape[3]: is 8, the spec gives 7"),
    "range": (lambda m: m["inputs"][0].update(range=[0, 1]), "inputs[0].range[0]: is 0, the spec gives -1.0"),
    "memory": (lambda m: m["memory"].update(arena_bytes=4), "memory.arena_bytes: is 4, the spec gives 0"),
    "place": (
        lambda m: m["tensors"]["image"].update(strides=[126, 1, 7, 1]),
        "tensors.image.strides[1]: is 1, the spec gives 42",
    ),
    "launch": (
        lambda m: m["launches"].append(m["launches"][0]),
        'launches: is [{"node": "stem", ',
    ),
    "a key more": (
        lambda m: m["launches"][0].update(sums="in blocks"),
        'launches[0].sums: is "in blocks", the spec gives no such key',
    ),
    "a file less": (lambda m: m["files"].pop("README.md"), 'files: is ["CMakeLists.txt", '),
    "kernels": (lambda m: m["kernels"][0].update(template="a"), 'kernels[0].template: is "a", the spec gives "'),
    "true": (
        lambda m: m["inputs"][0].update(channels_last=True),
        "inputs[0].channels_last: is true, the spec gives false",
    ),
    "its own hash": (
        lambda m: m.update(manifest_sha256="0" * 64),
        f'manifest_sha256: is "{"0" * 64}", which is not the manifest\'s',
    ),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_value_of_the_manifest(folder: Path, name: str) -> None:
    change, said = MANIFESTS[name]
    change_manifest(folder, change)
    assert f"\n  manifest.json: {said}" in refused(folder)


def test_all_files_that_differ_are_named(folder: Path) -> None:
    for name in ("tiny.h", "tiny.cl"):
        rewrite(folder / name, (folder / name).read_bytes() + b" ")
    change_manifest(folder, lambda m: m.update(zeros=7))
    lines = refused(folder).split("\n")[1:]
    assert [line.split(":")[0].strip() for line in lines] == ["tiny.h", "tiny.cl", "manifest.json"]


def test_another_version_says_so_and_nothing_else(folder: Path) -> None:
    change_manifest(folder, lambda m: m.update(generator="clgen 0.0.9", zeros=99))
    said = refused(folder)
    assert "was generated by clgen 0.0.9, and this is clgen " in said and "build again" in said
    assert "zeros" not in said


# ---- the folder's own target --------------------------------------------------------------------------------------


def test_the_folders_own_target_counts(tmp_path: Path) -> None:
    folder = generated(tiny_spec(tmp_path), target="gpu")
    opened(folder)
    opened(folder, target="gpu")
    said = refused(folder, SpecError, target="cpu")
    assert said.startswith("--target cpu: ") and "was generated for target gpu; leave it out" in said
    change_manifest(folder, lambda m: m.update(target="abacus"))
    assert "manifest.json: target: 'abacus' should be cpu or gpu; build again" in refused(folder)


def test_a_folder_without_measured_schedules(folder: Path) -> None:
    said = refused(folder, SpecError, tuned_for="first")
    assert "was generated with no measured schedules; leave it out" in said


def test_differences_are_of_the_files_as_they_are(folder: Path) -> None:
    files = build.rendered(build.lower(folder.parent.parent / "tiny.toml"), "cpu")
    assert differences(folder, files) == []
    (folder / "tiny.h").unlink()
    assert differences(folder, files) == ["tiny.h: cannot be read (No such file or directory)"]
