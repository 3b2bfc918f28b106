"""The benchmarks' own logic: peers that do not take a network, ratios, tables, artefacts for narrower vectors."""

from __future__ import annotations

import argparse
import importlib
import json
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, save

from tests.support.needs import ROOT


def of_benchmarks(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module(name)


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return of_benchmarks("engines", monkeypatch)


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return of_benchmarks("peers", monkeypatch)


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return of_benchmarks("rounds", monkeypatch)


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("import sys; print('first', file=sys.stderr); sys.exit('layer Foo: not known')", "layer Foo: not known"),
        ("import os; os.kill(os.getpid(), 11)", signal.strsignal(11)),
        ("raise SystemExit(3)", "ended with status 3"),
    ],
)
def test_an_engine_that_ends_says_why(engines: ModuleType, program: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(engines.Ended) as ended:
        engines.Engine("peer", [sys.executable, "-c", program], tmp_path / "out", {}, tmp_path / "log")
    assert str(ended.value) == reason


def test_a_refusal_is_kept(peers: ModuleType, tmp_path: Path) -> None:
    program = "open('runs', 'a').write('x'); print('reading'); print('operator Foo: not known\\n'); raise SystemExit(1)"
    for _ in range(2):
        with pytest.raises(peers.Refused, match=r"^operator Foo: not known$"):
            peers.convert([sys.executable, "-c", program], tmp_path, tmp_path / "model.mnn")
    assert (tmp_path / "runs").read_text() == "x"


def test_a_converter_that_makes_no_file_refuses(peers: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(peers.Refused, match="nothing to do"):
        peers.convert([sys.executable, "-c", "print('nothing to do')"], tmp_path, tmp_path / "model.mnn")


def test_a_peers_process_says_why_it_refuses(engines: ModuleType, tmp_path: Path) -> None:
    model = tmp_path / "net_b1.onnx"
    (value,) = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1])]
    save(helper.make_model(helper.make_graph([], "net", [value], [value])), model)
    (tmp_path / "net_b1.mnn.refused").write_text("operator Foo: not known")
    with pytest.raises(engines.Ended, match=r"^operator Foo: not known$"):
        engines.start_peer("mnn", model, 1, np.zeros((1, 1)), tmp_path, {})


class Stub:
    """An engine that takes so many seconds for each run, and computes ``y``."""

    setup_s = 0.5

    def __init__(self, name: str, seconds: float, y: list[float]) -> None:
        self.name, self.seconds, self.y = name, seconds, y

    def run(self, count: int) -> list[float]:
        return [self.seconds] * count

    def result(self) -> np.ndarray:
        return np.array(self.y, np.float32)

    def peak_bytes(self) -> int:
        return 1_000_000

    def processor_s(self) -> float:
        return 0.0

    def __enter__(self) -> Stub:
        return self

    def __exit__(self, *error: object) -> None:
        pass


def measured(rounds: ModuleType, monkeypatch: pytest.MonkeyPatch, folder: Path, clgen: Stub, peers: list[Stub]) -> Any:
    """The result where clgen and peers are stubs, and every other peer ends with "not known"."""
    known = {peer.name: peer for peer in peers}

    def start_peer(peer: str, *_: object) -> Stub:
        if peer not in known:
            raise rounds.Ended("not known")
        return known[peer]

    monkeypatch.setattr(rounds, "_artefact", lambda model, options: folder)
    monkeypatch.setattr(rounds, "start_clgen", lambda *_: clgen)
    monkeypatch.setattr(rounds, "start_peer", start_peer)
    monkeypatch.setattr(rounds, "SPINNING", 0)
    options = rounds.parser("").parse_args(["--rounds", "2", "--folder", str(folder)])
    return rounds.measure("net", folder / "net.onnx", np.zeros(1), options)


def test_peers_that_refuse_or_are_wrong_have_no_time(
    rounds: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    clgen = Stub("clgen", 0.002, [1.0, 2.0])
    true, wrong = Stub("onnxruntime", 0.003, [1.0, 2.0]), Stub("ncnn", 0.001, [1.0, 1.5])
    result = measured(rounds, monkeypatch, tmp_path, clgen, [true, wrong])
    assert result.milliseconds == pytest.approx({"clgen": 2, "onnxruntime": 3})
    assert (result.best_peer, result.ratio) == ("onnxruntime", pytest.approx(1.5))
    assert result.refused == {
        "openvino": "not known",
        "mnn": "not known",
        "litert": "not known",
        "ncnn": "computes something else (2e-01 of max|y|)",  # 0.5 of 2, by even rounding
    }
    table = rounds.markdown([result], ["onnxruntime", "ncnn"]).splitlines()
    assert table[0] == "| network | clgen | ONNX Runtime | ncnn | ratio | max error / max y |"
    assert table[2] == "| net | 2.00 | 3.00 | - | **1.50** | 0.0e+00 |"
    assert "- net, LiteRT: not known" in table


def test_clgen_must_compute_the_network(rounds: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    clgen, true = Stub("clgen", 0.002, [1.0, 2.1]), Stub("onnxruntime", 0.003, [1.0, 2.0])
    with pytest.raises(SystemExit, match=r"net: clgen is 5\.0e-02 of max\|y\| away"):
        measured(rounds, monkeypatch, tmp_path, clgen, [true])


@pytest.mark.parametrize(("isa", "options"), [("native", ["-DWIDE"]), ("avx2", [])])
def test_narrower_vectors_leave_out_the_compilers_options_for_wide_ones(
    rounds: ModuleType, isa: str, options: list[str], tmp_path: Path
) -> None:
    given = argparse.Namespace(isa=isa, folder=tmp_path, target="cpu")
    made = rounds._artefact(ROOT / "specs/digits.toml", given)
    manifest: Mapping[str, Any] = json.loads((made / "manifest.json").read_text())
    assert [choice["options"] for choice in manifest["device_options"]] == options


def test_every_network_is_in_one_set(monkeypatch: pytest.MonkeyPatch) -> None:
    zoo = of_benchmarks("zoo", monkeypatch)
    names = [name for networks in zoo.SETS.values() for name in networks]
    assert len(set(names)) == len(names) == 24
    assert zoo.input_of("quartznet5x5", 2).shape == (2, 64, 512)
    assert zoo.input_of("inceptionv3", 1).shape == (1, 3, 299, 299)
