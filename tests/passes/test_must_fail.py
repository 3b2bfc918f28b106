"""Wrong folds, numbers and kernels are caught, with the right layer and the right half named.

A wrong fold is the algebra's fault: the device does what the launches say.  Wrong numbers or code are the device's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from codegen import build
from codegen.cli import main
from codegen.emit.literals import hexfloat, table_rows
from codegen.errors import Mismatch
from codegen.graph.graph import Graph, Node
from codegen.graph.ops import Affine, BatchNorm, Conv, Fused
from codegen.passes import fold as folding
from codegen.passes import simplify as simplifying
from codegen.runtime.artefact import read
from codegen.runtime.devices import DeviceInfo
from codegen.runtime.verify import Verification, format_verification, verify
from tests.support.artefacts import rewrite
from tests.support.networks import Net, Stages, lower, normal_sample, weights_in
from tests.support.values import save_npz


@pytest.fixture(scope="module")
def device(some_device: DeviceInfo) -> DeviceInfo:
    """Any: what is tested here is the verification."""
    return some_device


def wrong_algebra(result: Verification) -> list[str]:
    """Layers; the outputs are checked once more at the end."""
    return [c.name for c in result.algebra if not c.passed and not c.name.startswith("output ")]


def wrong_launches(result: Verification) -> list[str]:
    return [c.name for d in result.devices for c in d.launches if not c.passed]


def assert_algebra_is_guilty(result: Verification, layer: str) -> None:
    """Only this layer's algebra; the device computed the wrong launches rightly, but not the network."""
    assert not result.passed
    assert wrong_algebra(result) == [layer]
    assert wrong_launches(result) == []
    assert not all(o.error <= o.tolerance for d in result.devices for o in d.outputs), "outputs are the network's"
    assert all(o.matches_host for d in result.devices for o in d.outputs)
    head, _, tail = format_verification(result).partition(result.devices[0].device)
    assert re.search(rf"^  {re.escape(layer)} .* WRONG ", head, re.MULTILINE)
    assert f"  {layer} " in tail and not re.search(rf"^  {re.escape(layer)} .* WRONG ", tail, re.MULTILINE)


def assert_device_is_guilty(result: Verification, layer: str) -> None:
    """Only this launch; the next one is judged by what it was given."""
    assert not result.passed
    assert wrong_algebra(result) == []
    assert wrong_launches(result) == [layer]
    text = format_verification(result)
    assert re.findall(r"^  (\S+) .* WRONG ", text, re.MULTILINE)[0] == layer
    assert text.endswith("NOT verified")


# ---- the algebra ----


def three_layers(kind: str = "conv") -> Graph:
    """Three layers with BatchNorm, of which the second is what the test is about."""
    n = Net((2, 3, 7, 6))
    x = n.act(n.bn(n.conv("x", 6, pads=1, name="first"), name="first/bn"))
    if kind == "dense":
        x = n.dense(n.global_pool(x), 6, name="second")
    elif kind == "transposed":
        x = n.conv_transpose(x, 6, 2, groups=2, name="second")
    elif kind == "padded":
        x = n.conv(n.bn(n.pool(x, "max", 2), name="second/bn"), 6, pads=1, name="second")
        return n.graph(n.dense(x, 4, name="third"))
    else:
        x = n.conv(x, 6, pads=1, name="second")
    x = n.act(n.bn(x, name="second/bn", epsilon=1e-3), "tanh")
    return n.graph(n.bn(n.dense(x, 4, name="third"), name="third/bn"))


def wrong_second(stages: Stages, change: Callable[[Any, Affine], Any]) -> Stages:
    """The launches with the second layer's operator changed: made by ``change`` from un-folded layer and BatchNorm."""
    by_name = stages.unfolded.by_name
    layer, bn = by_name["second"].op, by_name["second/bn"].op
    assert isinstance(bn, BatchNorm)
    nodes = []
    for node in stages.launches.nodes:
        op = node.op
        if isinstance(op, Fused) and "second" in _ancestors(stages, node):
            op = replace(op, core=change(layer, simplifying.affine_of(bn)))
        nodes.append(Node(node.name, op, node.inputs))
    return replace(stages, launches=stages.launches.with_nodes(nodes))


def _ancestors(stages: Stages, launch: Node) -> set[str]:
    """The un-folded layers that this launch computes."""
    found, pending = set(), [launch.name]
    while pending:
        name = pending.pop()
        if name not in launch.inputs and name not in found:
            found.add(name)
            pending += stages.unfolded.by_name[name].inputs
    return found


def correct(layer: Any, s: Affine) -> Any:
    return replace(layer, weight=layer.weight * layer.along_outputs(s.scale), bias=layer.bias * s.scale + s.shift)


def unscaled_bias(layer: Any, s: Affine) -> Any:
    return replace(correct(layer, s), bias=layer.bias + s.shift)


def lost_shift(layer: Any, s: Affine) -> Any:
    return replace(correct(layer, s), bias=layer.bias * s.scale)


def old_weights(layer: Any, s: Affine) -> Any:
    return replace(correct(layer, s), weight=layer.weight)


def swapped_axis(layer: Any, s: Affine) -> Any:
    return replace(correct(layer, s), weight=layer.weight * s.scale.reshape(1, -1, *(1,) * (layer.weight.ndim - 2)))


def groups_forgotten(layer: Any, s: Affine) -> Any:
    """The scale of the first group for all groups."""
    width = layer.weight.shape[1]
    return replace(correct(layer, s), weight=layer.weight * s.scale[:width].reshape(1, width, 1, 1))


def one_channel_a_little(layer: Any, s: Affine) -> Any:
    """A millionth of one channel: float32 would not see it, float64 does."""
    weight = correct(layer, s).weight.copy()
    weight[3] *= 1 + 1e-6
    return replace(correct(layer, s), weight=weight)


WRONG_FOLDS = [
    ("conv", unscaled_bias),
    ("conv", lost_shift),
    ("conv", old_weights),
    ("conv", swapped_axis),
    ("dense", unscaled_bias),
    ("dense", swapped_axis),
    ("transposed", unscaled_bias),
    ("transposed", groups_forgotten),
]


@pytest.mark.parametrize(("kind", "mistake"), WRONG_FOLDS, ids=lambda v: getattr(v, "__name__", v))
def test_wrong_fold(kind: str, mistake: Callable[[Any, Affine], Any], device: DeviceInfo) -> None:
    stages = lower(three_layers(kind))
    (name,) = (n.name for n in stages.launches.nodes if "second" in _ancestors(stages, n))
    assert_algebra_is_guilty(wrong_second(stages, mistake).verify(device), name)


@pytest.mark.parametrize("kind", ["conv", "dense", "transposed"])
def test_the_right_fold_passes(kind: str, device: DeviceInfo) -> None:
    """The right fold passes the same check, so it is the mistake that is caught."""
    result = wrong_second(lower(three_layers(kind)), correct).verify(device)
    assert result.passed, format_verification(result)


def test_a_millionth_of_one_channel(device: DeviceInfo) -> None:
    stages = lower(three_layers())
    result = wrong_second(stages, one_channel_a_little).verify(device)
    assert not result.passed
    assert len(wrong_algebra(result)) == 1


def _patched(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, wrong: Callable[..., Any]) -> None:
    right = getattr(module, name)
    monkeypatch.setattr(module, name, lambda *arguments: wrong(right, *arguments))


def test_wrong_epsilon(device: DeviceInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keras' 1e-3 taken for PyTorch's 1e-5, in one layer of three, whose variances are far larger than either."""
    _patched(
        monkeypatch, simplifying, "affine_of", lambda right, op: right(replace(op, epsilon=1e-5))
    )  # first/bn and third/bn have 1e-5 anyway
    graph = three_layers()
    bn = graph.by_name["second/bn"].op
    assert isinstance(bn, BatchNorm) and bn.epsilon == 1e-3 and bn.variance.min() > 0.1
    stages = lower(graph)
    (name,) = (n.name for n in stages.launches.nodes if "second" in _ancestors(stages, n))
    assert_algebra_is_guilty(stages.verify(device), name)


def test_shift_pushed_through_zero_padding(device: DeviceInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rule that knows of padding is switched off; the fold itself is clgen's own."""
    monkeypatch.setattr(Conv, "takes_input_map", lambda op, shifts: True)
    monkeypatch.setattr(folding, "_into_producer", lambda graph, node, op, ledger: None)
    n = Net((1, 3, 6, 6))
    x = n.pool("x", "max", 2, stride=1, name="pool")
    graph = n.graph(n.act(n.conv(n.bn(x, name="bn"), 5, pads=1, name="padded")))
    stages = lower(graph)
    assert stages.where("bn") == [("weights", "padded")], "the mistake was made"
    (guilty,) = (node.name for node in stages.launches.nodes if node.name != "pool")
    assert_algebra_is_guilty(stages.verify(device), guilty)


def test_bn_moved_past_a_max_pool(device: DeviceInfo) -> None:
    """Right for positive gammas, wrong for negative ones."""
    n = Net((1, 3, 6, 6))
    n.pool(n.bn(n.act(n.conv("x", 5, name="conv")), name="bn"), "max", 2, name="pool")
    stages = lower(n.graph())
    conv, pool = (node for node in stages.launches.nodes)
    assert isinstance(conv.op, Fused) and isinstance(pool.op, Fused)
    relu, bn = conv.op.epilogue
    moved = Graph(
        "net",
        stages.launches.inputs,
        (
            Node("n1", replace(conv.op, epilogue=(relu,)), conv.inputs),
            Node("pool", replace(pool.op, epilogue=(bn,)), ("n1",)),
        ),
        stages.launches.outputs,
    )
    assert_algebra_is_guilty(replace(stages, launches=moved).verify(device), "pool")


def test_folded_into_a_producer_that_others_read(device: DeviceInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other readers then see the BatchNorm's output in place of the layer's."""
    n = Net((1, 3, 6, 6))
    w = n.conv("x", 5, 1, name="shared")
    stages = lower(n.graph(n.bn(w, name="bn"), n.act(w, "tanh", name="other")))
    bn = stages.unfolded.by_name["bn"].op
    assert isinstance(bn, BatchNorm)
    nodes = []
    for node in stages.launches.nodes:
        op = node.op
        if node.name == "shared":
            assert isinstance(op, Fused)
            op = replace(op, core=correct(op.core, simplifying.affine_of(bn)))
        nodes.append(Node(node.name, op, node.inputs))
    wrong = replace(stages, launches=stages.launches.with_nodes(nodes))
    assert_algebra_is_guilty(wrong.verify(device), "shared")


def test_sub_with_sides_mixed_up(device: DeviceInfo) -> None:
    n = Net((1, 5, 6, 6))
    n.binary("sub", "x", n.conv("x", 5, 1), name="difference")
    stages = lower(n.graph())
    (node,) = stages.launches.nodes
    assert isinstance(node.op, Fused)
    turned = replace(node.op, epilogue=tuple(replace(s, swapped=not s.swapped) for s in node.op.epilogue))
    wrong = replace(stages, launches=stages.launches.with_nodes([Node(node.name, turned, node.inputs)]))
    assert_algebra_is_guilty(wrong.verify(device), "difference")


# ---- the device ----


@pytest.fixture(params=["tables", "blob"])
def built(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Stages, Path]]:
    """Three layers on disk, weights in tables of the kernels or in the blob."""
    stages = lower(three_layers())
    with weights_in(request.param):
        yield stages, stages.build(tmp_path).folder


def second_launch(stages: Stages, folder: Path) -> dict[str, Any]:
    (name,) = (n.name for n in stages.launches.nodes if "second" in _ancestors(stages, n))
    (launch,) = (x for x in json.loads((folder / "manifest.json").read_text())["launches"] if x["writes"] == name)
    return dict(launch)


def change_weight(folder: Path, launch: dict[str, Any], which: float, change: Callable[[float], float]) -> None:
    """Changes one weight of a launch; ``which`` is where among those that are not filling, from 0 to 1."""
    blob = folder / "net_weights.c.bin"
    if blob.exists():
        kinds = [a["kind"] for a in launch["arguments"]]
        start = launch["arguments"][kinds.index("weights") + 1]["value"]
        others = [
            other["arguments"][k + 1]["value"]
            for other in json.loads((folder / "manifest.json").read_text())["launches"]
            for k, a in enumerate(other["arguments"])
            if a["kind"] == "weights"
        ]
        values = np.frombuffer(blob.read_bytes(), dtype="<f4").copy()
        stop = min((o for o in others if o > start), default=len(values))
        used = start + np.flatnonzero(values[start:stop])
        at = used[int(which * (len(used) - 1))]
        values[at] = change(values[at])
        rewrite(blob, values.tobytes())
        return
    path = folder / "net.cl"
    source = path.read_text()
    (table,) = re.finditer(rf"TABLE\({launch['kernel']}_weight, .*?\}};", source, re.DOTALL)
    literals = [m for m in re.finditer(r"-?0x[0-9a-f.]+p[+-]\d+f", table.group()) if float.fromhex(m.group()[:-1])]
    literal = literals[int(which * (len(literals) - 1))]
    changed = float(np.float32(change(float.fromhex(literal.group()[:-1])))).hex() + "f"
    at = table.start() + literal.start()
    rewrite(path, (source[:at] + changed + source[at + len(literal.group()) :]).encode())


def verified(stages: Stages, folder: Path, device: DeviceInfo) -> Verification:
    artefact = read(folder)
    return verify(artefact, stages.unfolded, stages.launches, [device], [normal_sample(artefact)])


@pytest.mark.parametrize("which", [0.0, 0.37, 1.0])
def test_changed_weight(built: tuple[Stages, Path], which: float, device: DeviceInfo) -> None:
    stages, folder = built
    assert verified(stages, folder, device).passed
    launch = second_launch(stages, folder)
    change_weight(folder, launch, which, lambda w: -w)
    assert_device_is_guilty(verified(stages, folder, device), launch["writes"])


def test_weight_changed_by_a_thousandth(built: tuple[Stages, Path], device: DeviceInfo) -> None:
    """Half precision would be enough of a mistake."""
    stages, folder = built
    launch = second_launch(stages, folder)
    change_weight(folder, launch, 0.5, lambda w: w * (1 + 2**-10))
    assert_device_is_guilty(verified(stages, folder, device), launch["writes"])


def test_changed_file_without_its_hash(built: tuple[Stages, Path]) -> None:
    _, folder = built
    path = folder / "net.cl"
    path.write_text(path.read_text() + "\n")
    with pytest.raises(Mismatch, match=r"net\.cl.*SHA-256"):
        read(folder)


OFF_BY_ONE = {
    "last_row_skipped": (r"iy >= (\d+)", lambda n: n - 1),
    "last_column_skipped": (r"ix\d* < (\d+)", lambda n: n - 1),
}


def edit_kernel(path: Path, kernel: str, pattern: str, change: Callable[[int], int]) -> None:
    """Changes the number of the first match within one kernel."""
    source = path.read_text()
    start = source.index(f"void {kernel}(")
    stop = source.find("\nSTEP", start)
    body = source[start : stop if stop > 0 else None]
    match = re.search(pattern, body)
    assert match is not None, "the kernel is written differently by now: mend this test"
    first, last = start + match.start(1), start + match.end(1)
    rewrite(path, (source[:first] + str(change(int(match[1]))) + source[last:]).encode())


@pytest.mark.parametrize("mistake", OFF_BY_ONE)
def test_kernel_off_by_one(built: tuple[Stages, Path], mistake: str, device: DeviceInfo) -> None:
    stages, folder = built
    launch = second_launch(stages, folder)
    edit_kernel(folder / "net.cl", launch["kernel"], *OFF_BY_ONE[mistake])
    result = verified(stages, folder, device)
    shared = [x["writes"] for x in read(folder).launches if x["kernel"] == launch["kernel"]]
    assert shared == [launch["writes"]]
    assert_device_is_guilty(result, launch["writes"])
    # The C host has the right kernels in it.
    assert [o.matches_host for d in result.devices for o in d.outputs] == [False]
    assert result.devices[0].selftest


def test_kernels_of_the_c_host_off_by_one(built: tuple[Stages, Path], device: DeviceInfo) -> None:
    """pyopencl runs the right ones: only the comparison of the two can tell."""
    stages, folder = built
    edit_kernel(folder / "net.c", second_launch(stages, folder)["kernel"], *OFF_BY_ONE["last_row_skipped"])
    result = verified(stages, folder, device)
    assert not result.passed and not wrong_algebra(result) and not wrong_launches(result)
    assert [o.matches_host for d in result.devices for o in d.outputs] == [False]
    assert not result.devices[0].selftest
    assert "C host DIFFERS" in format_verification(result)


def test_activation_left_out_of_a_kernel(device: DeviceInfo, tmp_path: Path) -> None:
    stages = lower(three_layers())
    folder = stages.build(tmp_path).folder
    path = folder / "net.cl"
    source = path.read_text()
    wrong = re.sub(r"MATH\(tanh, \w+\)", "", source)
    assert wrong != source
    rewrite(path, wrong.encode())
    assert_device_is_guilty(verified(stages, folder, device), second_launch(stages, folder)["writes"])


def test_operands_mixed_up_in_the_launch_table(device: DeviceInfo, tmp_path: Path) -> None:
    n = Net((1, 5, 4, 4), (1, 5, 4, 4))
    stages = lower(n.graph(n.act(n.binary("sub", "x", "x1"), name="difference")))
    folder = stages.build(tmp_path).folder
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    arguments = manifest["launches"][0]["arguments"]
    arguments[0:2], arguments[2:4] = arguments[2:4], arguments[0:2]
    path.write_text(json.dumps(manifest))
    assert_device_is_guilty(verified(stages, folder, device), "difference")


def test_tensor_in_the_wrong_place(device: DeviceInfo, tmp_path: Path) -> None:
    """A launch reads its input 32 floats beyond where it is."""
    stages = lower(three_layers())
    folder = stages.build(tmp_path).folder
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    launch = next(x for x in manifest["launches"] if x["writes"] == second_launch(stages, folder)["writes"])
    # The arena has a tensor in front of this one or behind it.
    launch["arguments"][1]["value"] += -32 if launch["arguments"][1]["value"] else 32
    path.write_text(json.dumps(manifest))
    assert_device_is_guilty(verified(stages, folder, device), launch["writes"])


def test_launch_left_out(device: DeviceInfo, tmp_path: Path) -> None:
    stages = lower(three_layers())
    folder = stages.build(tmp_path).folder
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    gone = second_launch(stages, folder)["writes"]
    manifest["launches"] = [x for x in manifest["launches"] if x["writes"] != gone]
    path.write_text(json.dumps(manifest))
    assert_device_is_guilty(verified(stages, folder, device), gone)


# ---- the command ----

SPEC = """
[model]
name = "net"
weights = "net.npz"

[[input]]
name = "image"
shape = [3, 6, 7]

[[layer]]
name = "stem"
op = "conv"
padding = 1
batch_norm = { epsilon = 1e-3 }
activation = "relu"

[[layer]]
name = "head"
op = "dense"

[[output]]
name = "scores"
from = "head"
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    arrays = {"stem.weight": rng.standard_normal((8, 3, 3, 3)), "head.weight": rng.standard_normal((4, 336))}
    arrays |= {f"stem.bn.{word}": rng.standard_normal(8) for word in ("gamma", "beta", "moving_mean")}
    arrays["stem.bn.moving_variance"] = rng.uniform(0.5, 2.0, 8)
    np.savez(tmp_path / "net.npz", **{k: v.astype(np.float32) for k, v in arrays.items()})  # type: ignore[arg-type]
    (tmp_path / "net.toml").write_text(SPEC)
    return tmp_path / "net.toml"


def clgen(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


@pytest.mark.usefixtures("device")
def test_exit_code_of_a_wrong_fold(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert clgen("verify", spec)[0] == 0
    _patched(monkeypatch, Conv, "along_outputs", lambda right, op, values: right(op, np.roll(values, 1)))
    code, text = clgen("verify", spec)
    assert code == 5
    # Under "algebra", and nothing else is wrong but what comes out.
    assert re.search(r"^net: algebra.*\n  stem .* WRONG ", text)
    assert re.findall(r"^  (\S+) .* WRONG ", text, re.MULTILINE) == ["stem"]
    assert "NOT verified" in text


@pytest.mark.usefixtures("device")
def test_exit_code_of_a_weight_that_is_rendered_wrong(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is what this clgen makes of the spec: only the device's numbers can tell."""

    def rows(values: np.ndarray) -> Iterator[str]:
        wrong = values.copy()
        if values.size >= 4 * 336:
            wrong[np.flatnonzero(wrong)[100]] += 0.25
        return table_rows(wrong)

    monkeypatch.setattr("codegen.emit.render.table_rows", rows)
    report = spec.parent / "report.json"
    code, text = clgen("verify", spec, "--json", report)
    assert code == 5
    assert re.findall(r"^  (\S+) .* WRONG ", text, re.MULTILINE)[0] == "head"
    written = json.loads(report.read_text())
    assert written["passed"] is False
    assert all(c["ratio"] <= 1 for c in written["algebra"])
    assert [c["name"] for c in written["devices"][0]["launches"] if c["ratio"] > 1] == ["head"]


@pytest.mark.parametrize("place", ["tables", "blob"])
def test_exit_code_of_a_changed_weight(spec: Path, tmp_path: Path, place: str, has_device: None) -> None:
    """Found before anything runs, also where it is within the rounding error; its hash in the manifest fits."""
    with weights_in(place):
        assert clgen("build", spec, "-o", tmp_path)[0] == 0
        folder = tmp_path / "net"
        assert clgen("verify", folder, "--spec", spec)[0] == 0
        launch = next(x for x in read(folder).launches if x["writes"] == "head")
        changed: list[tuple[float, float]] = []

        def last_bit(weight: float) -> float:
            changed.append((weight, float(np.nextafter(np.float32(weight), np.float32(9)))))
            return changed[0][1]

        change_weight(folder, launch, 0.5, last_bit)
        code, text = clgen("verify", folder, "--spec", spec, "--device", "no such device")
        assert code == 5
        was, now = changed[0]
        if place == "blob":
            said = r"net_weights\.c\.bin: float \d+, number \d+ of the weights of launch 'head': is (\S+) .*, "
            (found,) = re.findall(said + r"the spec gives (\S+) ", text)
            assert [np.float32(number) for number in found] == [np.float32(now), np.float32(was)]
        else:
            (line,) = re.findall(r"net\.cl: line \d+, table net_head_weight: is '(.*)', the spec gives '(.*)'", text)
            assert now.hex() + "f" in line[0] and hexfloat(was) in line[1]


@pytest.mark.usefixtures("device")
def test_exit_code_of_a_file_that_was_edited(spec: Path, tmp_path: Path) -> None:
    assert clgen("build", spec, "-o", tmp_path)[0] == 0
    path = tmp_path / "net/net.cl"
    source = path.read_text()
    wrong = source.replace("AT_LEAST(", "AT_MOST(")
    assert wrong != source
    path.write_text(wrong)
    code, text = clgen("verify", tmp_path / "net", "--spec", spec)
    assert code == 5 and "SHA-256" in text


@pytest.mark.parametrize(("old", "new"), [("1e-3", "1e-5"), ("padding = 1", "padding = [[1, 1], [1, 1]]")])
def test_exit_code_of_another_spec(spec: Path, tmp_path: Path, old: str, new: str) -> None:
    """Also one that means the same: what was generated can no longer be traced to it."""
    assert clgen("build", spec, "-o", tmp_path)[0] == 0
    spec.write_text(spec.read_text().replace(old, new))
    code, text = clgen("verify", tmp_path / "net", "--spec", spec)
    assert code == 5 and "build again" in text


def test_exit_code_of_other_weights(spec: Path, tmp_path: Path) -> None:
    assert clgen("build", spec, "-o", tmp_path)[0] == 0
    with np.load(tmp_path / "net.npz") as archive:
        arrays = {name: archive[name] for name in archive.files}
    arrays["head.weight"][0, 0] += 1
    save_npz(tmp_path / "net.npz", arrays)
    code, text = clgen("verify", tmp_path / "net", "--spec", spec)
    assert code == 5 and "other weights" in text


def test_a_wrong_epsilon_shows_from_end_to_end(spec: Path, tmp_path: Path, device: DeviceInfo) -> None:
    """An artefact of the same network with PyTorch's epsilon in place of Keras', against the right network.

    Nothing but the numbers is compared: its launches are wrong, its outputs too, and so would any user see it.
    """
    right = build.lower(spec)
    spec.write_text(spec.read_text().replace("1e-3", "1e-5"))
    folder, _ = build.build(build.lower(spec), tmp_path, "cpu")
    result = verify(read(folder), right.model.graph, right.launches, [device])
    assert wrong_algebra(result) == [] and wrong_launches(result) == ["stem"]
    assert [o.error <= o.tolerance for o in result.devices[0].outputs] == [False]
