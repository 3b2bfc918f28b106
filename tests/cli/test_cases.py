"""Trained networks that others made, against outputs that another engine computed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from codegen import build
from codegen.runtime import artefact as artefacts
from codegen.runtime.devices import DeviceInfo
from codegen.runtime.execute import Session
from codegen.runtime.host import Host, compile_host
from tests.support import needs
from tests.support.generated_c import Tool
from tests.support.needs import trained
from tests.support.ways import WAYS, Application, build_plain_c, compile_together, way

Array = NDArray[Any]

PASS_MARK = 1e-4  # of max|y|, for every sample and output
IMAGENET_CLASSES = {0: 285, 1: 967}  # the first two samples show a cat and an espresso
CASES: dict[str, dict[str, tuple[int, ...]]] = {
    "mobilenet_v2_imagenet": {},
    "fer_mini_xception": {},
    "mtcnn_pnet": {},
    "mtcnn_rnet": {},
    "mtcnn_onet": {},
    "ppocr_cls": {"x": (1, 3, 48, 192)},
    "ppocr_det": {"x": (1, 3, 192, 384)},
    "ppocr6_rec": {"x": (1, 3, 48, 160)},
    "blazeface_front": {},
    "spindle_eeg": {"raw_signal": (1, 1, 7500), "spectrogram": (1, 15, 7500)},
    "pulsevad_teacher": {"log_mel": (1, 64, 21)},
}  # and the sizes that a model leaves open
SLOW = {"spindle_eeg"}  # to check at import and on OpenCL: half a minute each


def test_cases_are_all_there_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLGEN_CASES", raising=False)
    monkeypatch.setenv("CLGEN_REQUIRE", "all")
    monkeypatch.setattr(needs, "ROOT", tmp_path / "clgen")
    with pytest.raises(pytest.skip.Exception, match=r"mtcnn_pnet is not here: CLGEN_CASES names the folder"):
        trained("mtcnn_pnet")
    (tmp_path / "shared/cases/other").mkdir(parents=True)
    assert trained("other") == tmp_path / "shared/cases/other"
    with pytest.raises(pytest.fail.Exception, match="holds no mtcnn_pnet"):
        trained("mtcnn_pnet")
    monkeypatch.setenv("CLGEN_CASES", str(tmp_path / "nowhere"))
    with pytest.raises(pytest.fail.Exception, match="nowhere holds no other"):
        trained("other")


@pytest.fixture(scope="module")
def network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, build.Lowered]:
    """A trained network's folder, and what its import was lowered to."""
    folder = trained(request.param)
    work = tmp_path_factory.mktemp(request.param)
    check = request.param not in SLOW
    spec, _ = build.imported(folder / "model.onnx", work, request.param, CASES[request.param], check=check)
    return folder, build.lower(spec)


@pytest.fixture(scope="module")
def case(
    network: tuple[Path, build.Lowered], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, artefacts.Artefact, Path]:
    """A trained network's folder, its built artefact and the compiled C host."""
    folder, lowered = network
    work = tmp_path_factory.mktemp(folder.name)
    generated, _ = build.build(lowered, work / "generated", "cpu")
    artefact = artefacts.read(generated)
    return folder, artefact, compile_host(artefact, work / "host.so")


def given(artefact: artefacts.Artefact, expected: Mapping[str, Array]) -> Iterator[dict[str, Array]]:
    """The inputs of each sample."""
    names = [i["name"] for i in artefact.inputs]
    arrays = [expected[f"x{k}" if len(names) > 1 else "x"] for k in range(len(names))]
    for sample in zip(*arrays, strict=True):
        yield dict(zip(names, sample, strict=True))


@pytest.mark.parametrize("network", [name for name in CASES if name not in SLOW], indirect=True)
def test_outputs_are_within_the_pass_mark(case: tuple[Path, artefacts.Artefact, Path], device: DeviceInfo) -> None:
    folder, artefact, library = case
    expected = np.load(folder / "ref.npz")
    session = Session(artefact, device)
    with Host(artefact, library, device) as host:
        assert host.selftest()
        for sample, inputs in enumerate(given(artefact, expected)):
            by_pyopencl, by_c = session.run(inputs), host.run(inputs)
            for k, output in enumerate(artefact.outputs):
                y = expected[f"y{k}"][sample]
                got = by_pyopencl[output["name"]]
                worst = np.max(np.abs(got - y)) / np.max(np.abs(y))
                print(f"{artefact.name} on {device.platform}: sample {sample}, {output['name']}: {worst:.2e}")
                assert worst <= PASS_MARK
                if artefact.name == "mobilenet_v2_imagenet" and sample in IMAGENET_CLASSES:
                    assert got.argmax() == IMAGENET_CLASSES[sample]
                assert by_c[output["name"]].tobytes() == got.tobytes()


@pytest.mark.parametrize("network", CASES, indirect=True)
def test_plain_c_is_within_the_pass_mark(network: tuple[Path, build.Lowered], tool: Tool, tmp_path: Path) -> None:
    """Each network in another way, without threads and with them."""
    folder, lowered = network
    expected = np.load(folder / "ref.npz")
    artefact = build_plain_c(lowered, tmp_path)
    turn = list(CASES).index(folder.name)
    assert replace(way(turn), threads=True) == replace(way(turn + len(WAYS) // 2), threads=True)
    results = []
    for each in (way(turn), way(turn + len(WAYS) // 2)):
        library = compile_together([artefact], each, tool, tmp_path / f"{each}.so")
        with Application(artefact, library, each) as application:
            assert application.selftest()
            results.append([application.run(inputs) for inputs in given(artefact, expected)])
    for sample, (one, other) in enumerate(zip(*results, strict=True)):
        for k, output in enumerate(artefact.outputs):
            y, got = expected[f"y{k}"][sample], one[output["name"]]
            assert np.max(np.abs(got - y)) / np.max(np.abs(y)) <= PASS_MARK
            assert other[output["name"]].tobytes() == got.tobytes()
