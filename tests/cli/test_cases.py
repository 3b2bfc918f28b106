"""Trained networks that others made, against outputs that another engine computed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from codegen import build
from codegen.runtime import artefact as artefacts
from codegen.runtime.devices import DeviceInfo
from codegen.runtime.execute import Session
from codegen.runtime.host import Host, compile_host
from tests.support import needs
from tests.support.needs import trained

PASS_MARK = 1e-4  # of max|y|, for every sample and output
IMAGENET_CLASSES = {0: 285, 1: 967}  # the first two samples show a cat and an espresso
CASES = {
    "mobilenet_v2_imagenet": {},
    "fer_mini_xception": {},
    "mtcnn_pnet": {},
    "mtcnn_rnet": {},
    "mtcnn_onet": {},
    "ppocr_cls": {"x": (1, 3, 48, 192)},
    "ppocr_det": {"x": (1, 3, 192, 384)},
    "ppocr6_rec": {"x": (1, 3, 48, 160)},
}  # and the sizes that a model leaves open


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


@pytest.fixture(scope="module", params=CASES)
def case(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, artefacts.Artefact, Path]:
    """A trained network's folder, its built artefact and the compiled C host."""
    folder = trained(request.param)
    work = tmp_path_factory.mktemp(request.param)
    spec, _ = build.imported(folder / "model.onnx", work, request.param, CASES[request.param])
    generated, _ = build.build(build.lower(spec), work / "generated", "cpu")
    artefact = artefacts.read(generated)
    return folder, artefact, compile_host(artefact, work / "host.so")


def test_outputs_are_within_the_pass_mark(case: tuple[Path, artefacts.Artefact, Path], device: DeviceInfo) -> None:
    folder, artefact, library = case
    expected = np.load(folder / "ref.npz")
    session = Session(artefact, device)
    with Host(artefact, library, device) as host:
        assert host.selftest()
        for sample, x in enumerate(expected["x"]):
            given = {artefact.inputs[0]["name"]: x}
            by_pyopencl, by_c = session.run(given), host.run(given)
            for k, output in enumerate(artefact.outputs):
                y = expected[f"y{k}"][sample]
                got = by_pyopencl[output["name"]]
                worst = np.max(np.abs(got - y)) / np.max(np.abs(y))
                print(f"{artefact.name} on {device.platform}: sample {sample}, {output['name']}: {worst:.2e}")
                assert worst <= PASS_MARK
                if artefact.name == "mobilenet_v2_imagenet" and sample in IMAGENET_CLASSES:
                    assert got.argmax() == IMAGENET_CLASSES[sample]
                assert by_c[output["name"]].tobytes() == got.tobytes()
