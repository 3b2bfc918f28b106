"""Finds the fastest schedules on a device: artefacts that differ in schedules alone, timed layer by layer in turns.

For every schedule an artefact is built, in which each layer that can use the schedule does.  In each round all
artefacts run, one after the other, so that a temporary slowdown of the machine affects all of them.  Then the layers'
winners run together, and each stays only if it is still faster than the estimated schedule: this removes schedules that
won by luck or because of their neighbours.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from codegen.runtime.artefact import Artefact
from codegen.runtime.devices import DeviceInfo, opencl
from codegen.runtime.execute import Session
from codegen.runtime.samples import random_sample

LEAST_GAIN = 0.03  # fraction of a layer's time
LEAST_ROUNDS, MOST_ROUNDS = 3, 25
FIRST_PART = 0.7  # fraction of the budget for finding the winners
ESTIMATED, CHOSEN = "what is estimated", "what was fastest"

Progress = Callable[[str], None]
Make = Callable[[Mapping[str, str]], Artefact]
"""A function that builds the network with these schedules by layer, and estimated ones for other layers."""
Times = Mapping[str, float]
"""Microseconds by layer."""


@dataclass(frozen=True)
class Alike:
    """Layers with the same work, and the schedules that they can have, the estimated one first."""

    layers: tuple[str, ...]
    schedules: tuple[str, ...]


@dataclass(frozen=True)
class Measured:
    """``choices`` are the schedules by layer that are faster than the estimated ones.

    Microseconds are totals over all ``layers`` with a choice, with estimated schedules and with ``choices``.
    """

    layers: int
    choices: Mapping[str, str]
    before: float
    after: float

    def __str__(self) -> str:
        if not self.layers:
            return "no layer has schedules to choose from"
        if not self.choices:
            return f"the estimated schedules of {self.layers} layers are the fastest; they take {self.before:.0f} us"
        return (
            f"{len(self.choices)} of {self.layers} layers are faster with other schedules than the estimated ones; "
            f"all of them take {self.after:.0f} us instead of {self.before:.0f} us"
        )


def tune(work: Sequence[Alike], make: Make, device: DeviceInfo, seconds: float, say: Progress) -> Measured:
    """Measures for about so many seconds, compilation included; at least a few rounds, however long they take."""
    start = time.monotonic()
    work = [alike for alike in work if len(alike.schedules) > 1]
    count = sum(len(alike.layers) for alike in work)

    def tell(step: str) -> None:
        say(f"{step}, {max(start + seconds - time.monotonic(), 0):.0f} s left")

    def compiled(choices: Mapping[str, str]) -> Session:
        session = Session(make(choices), device, profiling=True)
        # The weights are on the device now.
        session.artefact = replace(session.artefact, weights=None)
        session.write(random_sample(session.artefact))
        _run(session)  # some runtimes compile a kernel when it is first launched
        return session

    def compare(programs: Mapping[str, Mapping[str, str]], until: float, what: str) -> list[dict[str, Times]]:
        sessions = {}
        for k, (name, choices) in enumerate(programs.items(), 1):
            tell(f"compiling {name}, {k} of {len(programs)}")
            sessions[name] = compiled(choices)
        rounds: list[dict[str, Times]] = []
        while len(rounds) < LEAST_ROUNDS or (len(rounds) < MOST_ROUNDS and time.monotonic() < until):
            tell(f"{what} {count} layers, round {len(rounds) + 1} of {MOST_ROUNDS}")
            # In alternating order, so that no artefact always comes first.
            order = list(sessions)[:: -1 if len(rounds) % 2 else 1]
            timed = {name: _timed(sessions[name]) for name in order}
            rounds.append(timed)
        return rounds

    if not work:
        return Measured(0, {}, 0.0, 0.0)
    schedules = dict.fromkeys(schedule for alike in work for schedule in alike.schedules)
    rounds = compare(
        {s: {layer: s for alike in work if s in alike.schedules for layer in alike.layers} for s in schedules},
        start + FIRST_PART * seconds,
        "measuring",
    )
    winners = {alike: fastest(alike, rounds) for alike in work}
    chosen = {layer: schedule for alike, schedule in winners.items() for layer in alike.layers}
    if all(schedule == alike.schedules[0] for alike, schedule in winners.items()):
        total = statistics.median(_total(work, timed) for timed in rounds)
        return Measured(count, {}, total, total)
    rounds = compare({ESTIMATED: {}, CHOSEN: chosen}, start + seconds, "confirming")
    kept = [alike for alike in work if winners[alike] != alike.schedules[0] and _gain(alike, rounds) >= LEAST_GAIN]
    before = statistics.median(sum(_of(alike, timed[ESTIMATED]) for alike in work) for timed in rounds)
    after = statistics.median(
        sum(_of(alike, timed[CHOSEN if alike in kept else ESTIMATED]) for alike in work) for timed in rounds
    )
    return Measured(count, {layer: winners[alike] for alike in kept for layer in alike.layers}, before, after)


def fastest(alike: Alike, rounds: Sequence[Mapping[str, Times]]) -> str:
    """The schedule with the least time relative to the estimated one's, as the median over all rounds.

    ``rounds`` are the layers' times by requested schedule.
    """
    first = alike.schedules[0]

    def ratio(schedule: str) -> float:
        return statistics.median(_of(alike, timed[schedule]) / _of(alike, timed[first]) for timed in rounds)

    best = min(alike.schedules, key=ratio)
    return best if ratio(best) <= 1 - LEAST_GAIN else first


def _gain(alike: Alike, rounds: Sequence[Mapping[str, Times]]) -> float:
    return 1 - statistics.median(_of(alike, timed[CHOSEN]) / _of(alike, timed[ESTIMATED]) for timed in rounds)


def _total(work: Sequence[Alike], timed: Mapping[str, Times]) -> float:
    return sum(_of(alike, timed[alike.schedules[0]]) for alike in work)


def _of(alike: Alike, times: Times) -> float:
    return sum(times[layer] for layer in alike.layers)


def _timed(session: Session) -> Times:
    """The time from the start of a layer's first launch to the end of its last one, for every layer."""
    # A first run refills the caches, as other artefacts have run in between.
    _run(session)
    spans: dict[str, tuple[int, int]] = {}
    for launch, event in zip(session.artefact.launches, _run(session), strict=True):
        start, _ = spans.get(launch["node"], (event.profile.start, 0))
        spans[launch["node"]] = (start, event.profile.end)
    # A clock may be too coarse for a small layer.
    return {name: 1e-3 * max(end - start, 1) for name, (start, end) in spans.items()}


def _run(session: Session) -> list[Any]:
    """Runs all launches, which start once all are in the queue: Python is slower than a device with small launches."""
    cl = opencl()
    gate = cl.UserEvent(session.context)
    try:
        cl.enqueue_barrier(session.queue, wait_for=[gate])
        events = [session.launch(index) for index in range(len(session.artefact.launches))]
    finally:
        gate.set_status(cl.command_execution_status.COMPLETE)
    session.queue.finish()
    return events
