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
from contextlib import ExitStack, closing
from dataclasses import dataclass

from codegen import interrupt
from codegen.runtime.artefact import Artefact
from codegen.runtime.devices import DeviceInfo
from codegen.runtime.native import NativeDevice
from codegen.runtime.timed import Interval, LaunchTimer, launch_timer

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


def tune(
    work: Sequence[Alike], make: Make, device: DeviceInfo | NativeDevice, seconds: float, say: Progress
) -> Measured:
    """Measures for about so many seconds, compilation included; at least a few rounds, however long they take."""
    start = time.monotonic()
    work = [alike for alike in work if len(alike.schedules) > 1]
    count = sum(len(alike.layers) for alike in work)

    def tell(step: str) -> None:
        say(f"{step}, {max(start + seconds - time.monotonic(), 0):.0f} s left")

    def compare(programs: Mapping[str, Mapping[str, str]], until: float, what: str) -> list[dict[str, Times]]:
        rounds: list[dict[str, Times]] = []
        with ExitStack() as opened:
            folder = opened.enter_context(interrupt.scratch())
            timers: dict[str, LaunchTimer] = {}
            for k, (name, choices) in enumerate(programs.items(), 1):
                tell(f"compiling {name}, {k} of {len(programs)}")
                timers[name] = launch_timer(make(choices), device, folder)
                opened.enter_context(closing(timers[name]))
                timers[name].run()  # some runtimes compile a kernel when it is first launched
            while len(rounds) < LEAST_ROUNDS or (len(rounds) < MOST_ROUNDS and time.monotonic() < until):
                tell(f"{what} {count} layers, round {len(rounds) + 1} of {MOST_ROUNDS}")
                # In alternating order, so that no artefact always comes first.
                order = list(timers)[:: -1 if len(rounds) % 2 else 1]
                rounds.append({name: _timed(timers[name]) for name in order})
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


def _timed(timer: LaunchTimer) -> Times:
    """The time from the start of a layer's first launch to the end of its last one, for every layer."""
    # A first run refills the caches, as other artefacts have run in between.
    timer.run()
    spans: dict[str, Interval] = {}
    for launch, (start, end) in zip(timer.artefact.launches, timer.run(), strict=True):
        first, _ = spans.get(launch["node"], (start, end))
        spans[launch["node"]] = (first, end)
    return {name: end - start for name, (start, end) in spans.items()}
