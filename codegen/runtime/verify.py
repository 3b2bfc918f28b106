"""Verifies generated code with two oracles, so that a failure tells whether the algebra or the code is wrong.

1. The algebra: every launch of the folded network is compared with the same tensor of the un-folded one, in float64.
2. The code: every launch on the device is compared with the float64 reference of the same step, computed from the
   device's own inputs of the launch, within a bound derived from the computation.

Finally the whole: outputs against the un-folded network, the C host against the pyopencl run bit for bit, the
self-test.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen import interrupt
from codegen.errors import Mismatch
from codegen.graph.bounded import FLOAT64, ROUNDINGS, Array, Bounded, Rounding
from codegen.graph.evaluation import all_outputs, evaluate, sources
from codegen.graph.graph import Graph, Node
from codegen.graph.ops import Op
from codegen.graph.ops.op import Part, whole
from codegen.graph.pieces import pieces, slices
from codegen.graph.tolerance import rounded_evaluation, tolerance, with_algorithm
from codegen.runtime.artefact import Artefact, Floats, Values, in_network_order, to_user_order
from codegen.runtime.devices import DeviceInfo
from codegen.runtime.execute import Session
from codegen.runtime.host import Host, Instance, compile_host
from codegen.runtime.native import NativeDevice, NativeHost, NativeSession, compile_native
from codegen.runtime.samples import Sample, random_sample, with_special_numbers

FLOAT32_MAX = float(np.finfo(np.float32).max)

# Both sides of the algebra check round: folding takes a few float64 operations per weight.
ALGEBRA_FACTOR = 8


@dataclass(frozen=True)
class Check:
    """The comparison of a tensor with the reference, at its worst element in all samples.

    ``ratio`` is the error divided by its bound; up to 1 is correct.
    """

    name: str
    title: str
    error: float
    bound: float
    ratio: float
    index: tuple[int, ...]
    ulps: float
    sample: int = 0

    @property
    def passed(self) -> bool:
        return self.ratio <= 1


@dataclass(frozen=True)
class OutputCheck:
    """An output from end to end, in its worst sample: max|err|, max|y| and the largest allowed error.

    The error is infinite if an infinity or NaN is missing or misplaced.
    """

    name: str
    error: float
    largest: float
    tolerance: float
    matches_host: bool

    @property
    def passed(self) -> bool:
        return self.error <= self.tolerance and self.matches_host


@dataclass(frozen=True)
class DeviceReport:
    """The results of all checks on one device.

    ``special`` has the checks of launches on inputs with NaN, infinities and the like; ``special_matches_host`` is true
    if the C host gives the same outputs for these inputs.
    """

    device: str
    platform: str
    launches: tuple[Check, ...]
    outputs: tuple[OutputCheck, ...]
    special: tuple[Check, ...]
    special_matches_host: bool
    selftest: bool

    @property
    def passed(self) -> bool:
        launches = all(check.passed for check in (*self.launches, *self.special))
        outputs = all(output.passed for output in self.outputs) and self.special_matches_host
        return launches and outputs and self.selftest


@dataclass(frozen=True)
class Verification:
    """The algebra check, and the reports of every device, over a number of samples of the inputs."""

    name: str
    samples: int
    algebra: tuple[Check, ...]
    devices: tuple[DeviceReport, ...]

    @property
    def passed(self) -> bool:
        return all(c.passed for c in self.algebra) and all(d.passed for d in self.devices)

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "passed": self.passed}


def check_algebra(unfolded: Graph, launches: Graph, given: Mapping[str, NDArray[np.float32]]) -> tuple[Check, ...]:
    """Compares every launch of the folded graph with the un-folded tensor of the same name, in float64.

    Both sides start from the same numbers: the un-folded network's values of the tensors that the launch reads.  So a
    wrong fold is reported at its own launch only, and the bound covers the few steps in between and does not grow with
    the depth of the network.
    """
    inputs = {i.name: Bounded.exact(given[i.name]) for i in unfolded.inputs}
    inputs |= {name: Bounded.exact(values) for name, values in unfolded.constant_values.items()}
    settled = dict(inputs)
    sources: dict[str, dict[str, Bounded]] = {}
    computed: dict[str, Bounded] = {}
    checks = []

    def check(name: str, title: str, y: Bounded, true: Bounded) -> None:
        bound = ALGEBRA_FACTOR * (y.error + true.error)
        checks.append(compare(name, title, y.value, true.value, bound, FLOAT64.unit))

    for constant in launches.constants:
        folded = Bounded.exact(constant.values)
        if constant.name in unfolded.by_name:
            true = _evaluated(_between(unfolded, constant.name, inputs), inputs)
            check(constant.name, "constant", folded, true)
        settled[constant.name] = inputs[constant.name] = folded
    for node in launches.nodes:
        between = _between(launches, node.name, settled)
        known = inputs | {name: settled[name] for step in between for name in step.inputs if name in settled}
        y = _evaluated(between, known)
        if node.name in launches.results:
            sources[node.name], computed[node.name] = known, y
        # Parts of a distributed map, and copies, are tensors of the folded graph only.
        if node.name in unfolded.by_name:
            true = _evaluated(_between(unfolded, node.name, known), known)
            check(node.name, node.op.title, y, true)
            settled[node.name] = Bounded.exact(true.value)
    for here, there in itertools.zip_longest(launches.outputs, unfolded.outputs):
        if here is None or there is None or here.name != there.name:
            raise Mismatch(f"{unfolded.name}: the folded network has other outputs than the un-folded one")
        known = sources[here.value]
        steps_to = _between(unfolded, there.value, known)
        true = _evaluated(steps_to, known) if steps_to else known[there.value]
        check(f"output {here.name}", "output", computed[here.value], true)
    return tuple(checks)


def _between(graph: Graph, name: str, known: Container[str]) -> list[Node]:
    """The nodes that compute a tensor from known ones, in order."""
    needed: set[str] = set()
    open_names = [name] if name not in known else []
    while open_names:
        name = open_names.pop()
        if name not in needed:
            needed.add(name)
            open_names += [source for source in graph.by_name[name].inputs if source not in known]
    return [node for node in graph.nodes if node.name in needed]


def _evaluated(nodes: Sequence[Node], known: Mapping[str, Bounded]) -> Bounded:
    """The value of the last node."""
    values = dict(known)
    for node in nodes:
        values[node.name] = node.op.bounded(*(values[name] for name in node.inputs), rounding=FLOAT64)
    return values[nodes[-1].name]


def check_device(
    artefact: Artefact,
    unfolded: Graph,
    launches: Graph,
    device: DeviceInfo | NativeDevice,
    folder: Path,
    samples: Sequence[Sample],
) -> DeviceReport:
    """Checks a device launch by launch, from end to end, and through the C host; libraries go to ``folder``."""
    with _opened(artefact, device, folder) as (session, host):
        selftest = host.selftest()
        checked = [_check_sample(session, host, unfolded, launches, sample) for sample in samples]
        special = with_special_numbers(samples[0])
        special_checks = check_launches(session, launches, special, in_network_order(artefact, special))
        ours, theirs = session.run(special), host.run(special)
    checks = _worst_checks([launched for launched, _ in checked])
    outputs = tuple(_worst_output(column) for column in zip(*(outputs for _, outputs in checked), strict=True))
    return DeviceReport(
        device=device.name,
        platform=f"{device.platform} ({device.version})",
        launches=checks,
        outputs=outputs,
        special=special_checks,
        special_matches_host=all(np.array_equal(ours[name], theirs[name], equal_nan=True) for name in ours),
        selftest=selftest,
    )


@contextmanager
def _opened(
    artefact: Artefact, device: DeviceInfo | NativeDevice, folder: Path
) -> Iterator[tuple[Session | NativeSession, Instance]]:
    """The artefact on a device, launch by launch, and the C host as an application has it."""
    library = folder / f"lib{artefact.name}.so"
    if isinstance(device, NativeDevice):
        own = folder / device.name.replace(":", "_")
        own.mkdir(exist_ok=True)
        traced = compile_native(artefact, device, own / f"traced_{library.name}", traced=True)
        untraced = compile_native(artefact, device, own / library.name)
        with NativeSession(artefact, traced, device) as native, NativeHost(artefact, untraced, device) as application:
            yield native, application
    else:
        if not library.exists():
            compile_host(artefact, library)
        session = Session(artefact, device)
        with Host(artefact, library, device) as host:
            yield session, host


def _check_sample(
    session: Session | NativeSession, host: Instance, unfolded: Graph, launches: Graph, sample: Sample
) -> tuple[tuple[Check, ...], list[OutputCheck]]:
    artefact = session.artefact
    given = in_network_order(artefact, sample)
    checks = check_launches(session, launches, sample, given)
    results, through_c = session.run(sample), host.run(sample)
    read, computed = sources(given), as_computed(artefact, launches)
    expected = evaluate(unfolded, read, all_outputs(unfolded))
    exact = evaluate(launches, read, all_outputs(launches))
    rounded = rounded_evaluation(launches, read, all_outputs(launches), computed)
    outputs = []
    for declared, output, fused in zip(artefact.outputs, unfolded.outputs, launches.outputs, strict=True):
        y = expected[output.value]
        true = to_user_order(y, declared)
        got = results[declared["name"]]
        with np.errstate(invalid="ignore"):  # infinity less infinity
            noise = rounded[fused.value] - exact[fused.value]
        outputs.append(
            OutputCheck(
                name=output.name,
                error=largest_error(got, true, to_user_order(rounded[fused.value], declared)),
                largest=float(np.max(np.abs(true), initial=0, where=np.isfinite(true))),
                tolerance=tolerance(y, noise, output.type),
                matches_host=same_bits(got, through_c[declared["name"]]),
            )
        )
    return checks, outputs


def _worst_checks(samples: Sequence[tuple[Check, ...]]) -> tuple[Check, ...]:
    """The check of each tensor in its worst sample."""
    numbered = [[replace(check, sample=k) for check in checks] for k, checks in enumerate(samples)]
    return tuple(max(column, key=lambda check: check.ratio) for column in zip(*numbered, strict=True))


def _worst_output(samples: Sequence[OutputCheck]) -> OutputCheck:
    worst = max(samples, key=lambda output: output.error / output.tolerance)
    return replace(worst, matches_host=all(output.matches_host for output in samples))


def verify(
    artefact: Artefact,
    unfolded: Graph,
    launches: Graph,
    devices: Sequence[DeviceInfo | NativeDevice],
    samples: Sequence[Sample] = (),
) -> Verification:
    """Checks the algebra once, then each device, on every sample, or on a generated one if none is given.

    Afterwards the launches are checked on the first sample with special numbers in it.  This is not done end to end, as
    NaN spreads on the way, in particular through Winograd's tiles.
    """
    unknown = [launch["node"] for launch in artefact.launches if launch["node"] not in launches.by_name]
    if unknown:
        raise Mismatch(f"{artefact.folder}: launch {unknown[0]!r} is not in the spec; build again")
    samples = samples or [random_sample(artefact)]
    tried = [*samples, with_special_numbers(samples[0])]
    algebra = _worst_checks([check_algebra(unfolded, launches, in_network_order(artefact, s)) for s in tried])
    with interrupt.scratch() as folder:
        reports = tuple(check_device(artefact, unfolded, launches, d, folder, samples) for d in devices)
    return Verification(artefact.name, len(samples), algebra, reports)


def compare(name: str, title: str, got: NDArray[Any], true: Array, bound: Array, unit: float) -> Check:
    """The element with the largest error in units of its bound.

    Infinity and NaN are correct if the reference has the same, whatever the bound.  If the bound is infinite, because
    intermediate results may overflow, any value is correct.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.abs(got.astype(np.float64) - true)
    same = (got == true) | (np.isnan(got) & np.isnan(true)) | np.isposinf(bound)
    error = np.where(same, 0.0, np.where(np.isnan(error), np.inf, error))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(error == 0, 0.0, error / bound)
    if ratio.size == 0:
        return Check(name, title, 0.0, 0.0, 0.0, (), 0.0)
    at = tuple(int(i) for i in np.unravel_index(int(np.argmax(ratio)), ratio.shape))
    spacing = 2 * unit * max(abs(float(true[at])), float(np.finfo(np.float32).tiny))
    return Check(name, title, float(error[at]), float(bound[at]), float(ratio[at]), at, float(error[at]) / spacing)


def check_launches(
    session: Session | NativeSession,
    launches: Graph,
    user: Mapping[str, Values],
    given: Mapping[str, NDArray[np.float32]],
) -> tuple[Check, ...]:
    held: dict[str, NDArray[Any]] = dict(given)
    kind = session.artefact.manifest["type"]
    rounding = ROUNDINGS[kind]
    launched = {launch["writes"] for launch in session.artefact.launches}
    checks = []
    for constant in launches.constants:
        with np.errstate(over="ignore"):
            stored = constant.values.astype(kind).astype(np.float64)
        held[constant.name] = session.tensor(constant.name)
        exact = np.zeros_like(stored)
        checks.append(compare(constant.name, "constant", held[constant.name], stored, exact, rounding.unit))

    def settle(name: str) -> NDArray[Any]:
        """The device's values of a tensor; a tensor without a launch must equal its sources exactly."""
        if name not in held:
            node = launches.by_name[name]
            sources = [settle(source) for source in node.inputs]
            with np.errstate(all="ignore"):
                true = node.op.reference(*(np.asarray(s, dtype=np.float64) for s in sources))
            held[name] = session.tensor(name)
            checks.append(compare(name, node.op.title, held[name], true, np.zeros_like(true), rounding.unit))
        return held[name]

    runner = session.steps(user)
    # A tensor without a launch is compared when the first launch reads it, together with its own sources.
    readers = Counter(launches.uses)
    for node in launches.nodes:
        if node.name not in launched:
            continue
        inputs = [settle(name) for name in node.inputs]
        launch, got = next(runner)
        while launch["node"] == node.name != launch["writes"]:
            launch, got = next(runner)  # the node takes several launches
        if launch["node"] != node.name:
            raise Mismatch(f"{session.artefact.folder}: launches are not in the spec's order; build again")
        held[node.name] = got
        checks.append(_check_launch(node, _as_computed(node.op, launch), inputs, got, rounding))
        for name in node.inputs:
            readers[name] -= 1
            if readers[name] == 0:
                del held[name]
    return tuple(checks)


def _check_launch(node: Node, op: Op, inputs: Sequence[NDArray[Any]], got: NDArray[Any], rounding: Rounding) -> Check:
    """Compares a launch's output with the reference and its bound, piece by piece if it is large."""
    shapes = [x.shape for x in inputs]
    boxes = list(pieces(got.shape, shapes))
    parts = [] if len(boxes) == 1 else [op.for_box(box, *shapes) for box in boxes]
    if not parts or None in parts:
        boxes, parts = [whole(got.shape)], [Part(op, tuple(map(whole, shapes)))]
    checks = []
    for box, part in zip(boxes, parts, strict=True):
        assert part is not None
        read = (Bounded.exact(x[slices(b)]) for x, b in zip(inputs, part.boxes, strict=True))
        true = part.op.bounded(*read, rounding=rounding)
        check = compare(node.name, node.op.title, got[slices(box)], true.value, true.error, rounding.unit)
        index = tuple(at + start for at, (start, _) in zip(check.index, box, strict=True))
        checks.append(replace(check, index=index))
    return max(checks, key=lambda check: check.ratio)


def as_computed(artefact: Artefact, launches: Graph) -> dict[str, Op]:
    """The operators, by name, of launches that compute Winograd's algorithm, which spreads infinities and NaN."""
    return {
        launch["node"]: _as_computed(launches.by_name[launch["node"]].op, launch)
        for launch in artefact.launches
        if "winograd" in launch
    }


def _as_computed(op: Op, launch: Mapping[str, Any]) -> Op:
    """The operator with the error bound of the algorithm that the manifest states."""
    return with_algorithm(op, launch.get("winograd", 0), "sums" in launch)


def largest_error(got: Values, true: Array, rounded: Array) -> float:
    """max|got - true|; infinite if an infinity or NaN of ``true`` is missing, or ``got`` has an additional one.

    ``rounded`` is the same computation with every tensor rounded to float32.  If rounding decides on an infinity or
    NaN, as after an overflow or in a difference of almost 0, a device may have either value; if rounding alone
    causes NaN, any value is allowed.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.abs(got.astype(np.float64) - true)
        kinds = [_kind(values.astype(np.float32)) for values in (got, true, rounded)]
    unknown = np.isnan(rounded) & ~np.isnan(true)
    wrong = (kinds[0] != kinds[1]) & (kinds[0] != kinds[2]) & ~unknown
    numbers = np.isfinite(error) & (np.abs(true) <= FLOAT32_MAX)
    return float(np.max(np.where(wrong, np.inf, np.where(numbers, error, 0.0)), initial=0))


def same_bits(a: Values, b: Values) -> bool:
    """True if all elements are equal bit for bit, except for the sign and payload of NaN, which no standard fixes."""
    bits = f"u{a.itemsize}"
    return bool(np.all((a.view(bits) == b.view(bits)) | (np.isnan(a) & np.isnan(b))))


def _kind(values: Floats) -> Array:
    """0 for finite numbers, 2 for NaN, and infinities unchanged."""
    return np.where(np.isnan(values), 2.0, np.where(np.isinf(values), values, 0.0))


def format_verification(result: Verification) -> str:
    """A table for people: each launch's worst error, its bound, its index, and the error in ULP."""
    count = f"{result.samples} samples" if result.samples != 1 else "1 sample"
    lines = [f"{result.name}: algebra, folded against un-folded in float64, on {count}"]
    lines += _worst_lines(result.algebra)
    for device in result.devices:
        lines.append(f"{device.device}, {device.platform}")
        lines += _table(device.launches)
        for o in device.outputs:
            relative = o.error / o.largest if o.largest else 0.0
            verdict = "ok" if o.error <= o.tolerance else "WRONG"
            lines.append(f"  output {o.name}: max|err|/max|y| = {relative:.2e}, max|err| = {o.error:.3g} {verdict}")
            lines.append(f"  output {o.name}: C host {'agrees bit for bit' if o.matches_host else 'DIFFERS'}")
        lines.append("  with NaN, infinities, -0, denormals and the largest numbers among the inputs:")
        lines += [f"  {line}" for line in _worst_lines(device.special)]
        lines.append(f"    C host {'agrees' if device.special_matches_host else 'DIFFERS'}")
        lines.append(f"  self-test: {'ok' if device.selftest else 'WRONG'}")
    lines.append("verified" if result.passed else "NOT verified")
    return "\n".join(lines)


def _table(checks: Sequence[Check]) -> list[str]:
    width = max((len(c.name) for c in checks), default=0)
    return [
        f"  {c.name:<{width}}  err {c.error:9.2e}  bound {c.bound:9.2e}  {c.ulps:8.1f} ulp  at {list(c.index)}"
        f"{f' of sample {c.sample}' if c.sample else ''}  "
        f"{'ok' if c.passed else 'WRONG'}  {c.title}"
        for c in checks
    ]


def _worst_lines(checks: Sequence[Check]) -> list[str]:
    wrong = [c for c in checks if not c.passed]
    if wrong:
        return _table(wrong)
    worst = max(checks, key=lambda c: c.ratio, default=None)
    return (
        [] if worst is None else [f"  {len(checks)} tensors agree; worst {worst.ratio:.2g} of its bound: {worst.name}"]
    )
