"""Well-known networks at full depth: no batch norm is a launch of its own, and what remains computes the network."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from codegen import build
from codegen.graph.graph import Graph, Node
from codegen.graph.ops import BatchNorm, Fused
from codegen.runtime import artefact as artefacts
from codegen.runtime.devices import DeviceInfo
from codegen.runtime.execute import Session
from codegen.runtime.verify import check_algebra, verify
from tests.support.networks import inputs_of
from tests.support.onnx_models import expected, saved
from tests.support.topologies import TOPOLOGIES, Net

SIZE = 64  # of the image; what is counted here does not depend on it
PASS_MARK = 1e-4  # of max|y|


@dataclass(frozen=True)
class Count:
    """Convolutions and batch norms of the paper; where these go, and the launches that are neither convolution,
    pool, concatenation nor dense layer."""

    convs: int
    batch_norms: int
    placed: dict[str, int]
    elementwise: int = 0


COUNTS = {
    "bninception": Count(69, 69, {"weights": 69}),
    # Each tensor that is joined to others is read by many: there the batch norm is the reader's.
    "densenet121": Count(120, 121, {"weights": 59, "prologue": 62}),
    # A copy to the output; the gates of squeeze-and-excitation are prologues.
    "mobilenetv3_large": Count(64, 46, {"weights": 46}, 0),
    "preresnet18": Count(20, 18, {"weights": 9, "prologue": 5, "epilogue": 4}),
    "resnet50": Count(53, 53, {"weights": 53}),
}


@dataclass(frozen=True)
class Case:
    name: str
    proto: onnx.ModelProto
    path: Path
    net: Net
    lowered: build.Lowered


@pytest.fixture(scope="module", params=TOPOLOGIES)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    net = Net(SIZE)
    proto = net.model(TOPOLOGIES[request.param](net))
    path = saved(proto, tmp_path_factory.mktemp("models"), request.param)
    return Case(request.param, proto, path, net, build.lower(path))


def test_no_batch_norm_is_a_launch(case: Case) -> None:
    count, report = COUNTS[case.name], case.lowered.report
    assert (case.net.count("Conv"), case.net.count("BatchNormalization")) == (count.convs, count.batch_norms)
    assert len(report.batch_norms) == count.batch_norms
    assert report.launches == 0
    assert all(b.placements for b in report.batch_norms)
    assert Counter(p.how for b in report.batch_norms for p in b.placements) == count.placed
    ops = [node.op for node in case.lowered.launches.nodes]
    assert all(isinstance(op, Fused) for op in ops)
    cores = Counter(type(op.core).__name__ for op in ops if isinstance(op, Fused))
    assert cores["Conv"] == count.convs
    assert cores["Identity"] == count.elementwise
    assert set(cores) <= {"Conv", "Pool", "GlobalPool", "Concat", "Dense", "Identity", "Reshape"}


def test_the_algebra_of_every_launch_is_that_of_the_network(case: Case) -> None:
    graph = case.lowered.model.graph
    checks = check_algebra(graph, case.lowered.launches, inputs_of(graph))
    assert all(check.passed for check in checks)
    assert len(checks) == len(case.lowered.launches.nodes) + 1
    # A bound that grows with depth would let anything pass: values are of the order of 1 to 1000.
    assert max(check.bound for check in checks) < 1e-7


def test_a_wrong_epsilon_in_the_last_batch_norm_is_found(case: Case) -> None:
    graph = case.lowered.model.graph
    last = [node for node in graph.nodes if isinstance(node.op, BatchNorm)][-1]
    assert isinstance(last.op, BatchNorm)
    wrong = Node(last.name, replace(last.op, epsilon=1.001e-5), last.inputs)
    changed = Graph(graph.name, graph.inputs, tuple(wrong if n is last else n for n in graph.nodes), graph.outputs)
    failed = [c.name for c in check_algebra(changed, case.lowered.launches, inputs_of(graph)) if not c.passed]
    assert len(failed) == 1


def test_outputs_are_those_of_onnxruntime(case: Case) -> None:
    """Checks the float64 reference of the launches; the next test runs them on devices."""
    x = np.random.default_rng(1).standard_normal((1, 3, SIZE, SIZE)).astype(np.float32)
    (y,) = expected(case.proto, {"image": x})
    launches = case.lowered.launches
    got = launches.evaluate({"image": x})[launches.outputs[0].value]
    assert np.abs(got - y).max() <= PASS_MARK / 10 * np.abs(y).max()


def test_on_devices(device: DeviceInfo, tmp_path: Path) -> None:
    """The one of many kinds of layers and few distinct kernels; the rest is in test_small_networks."""
    net = Net(SIZE)
    proto = net.model(TOPOLOGIES["mobilenetv3_large"](net))
    lowered = build.lower(saved(proto, tmp_path, "mobilenetv3"))
    artefact = artefacts.read(build.build(lowered, tmp_path, "cpu")[0])
    result = verify(artefact, lowered.model.graph, lowered.launches, [device])
    assert result.passed
    x = np.random.default_rng(2).standard_normal((1, 3, SIZE, SIZE)).astype(np.float32)
    (y,) = expected(proto, {"image": x})
    (got,) = Session(artefact, device).run({"image": x}).values()
    assert np.abs(got - y).max() <= PASS_MARK * np.abs(y).max()


# The peak since the program was started; what wait4 says contains the memory of the process that started it.
BUILD = """
import sys
from codegen.cli import main
main(sys.argv[1:], standalone_mode=False)
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from Linux's /proc")
def test_a_build_of_resnet50_needs_little_memory(tmp_path: Path) -> None:
    net = Net(224)
    path = saved(net.model(TOPOLOGIES["resnet50"](net)), tmp_path, "resnet50")
    command = [sys.executable, "-c", BUILD, "build", str(path), "-o", str(tmp_path)]
    printed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    kilobytes = int(printed.splitlines()[-1])
    assert 0.1e6 < kilobytes < 1.5e6
