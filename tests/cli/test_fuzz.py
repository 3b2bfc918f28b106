"""A few damaged files of every kind, always the same; tests/programs/fuzz.py tries as many as one likes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.programs import fuzz

RUN = ("manifest", "generated", "inputs")
"""Files of commands that run the network, if the damage is none."""


@pytest.mark.parametrize("kind", [kind for kind in fuzz.KINDS if kind not in RUN])
def test_damaged_files_are_refused(kind: str) -> None:
    assert_refused(kind)


@pytest.mark.usefixtures("has_device")
@pytest.mark.parametrize("kind", RUN)
def test_damaged_files_are_refused_or_run(kind: str) -> None:
    assert_refused(kind)


def assert_refused(kind: str) -> None:
    count = 4 if kind == "keras" else 20  # each of Keras is read by one process more
    ends = [end for _, _, end in fuzz.fuzz([kind], count, seed=0)]
    assert [end.text for end in ends if end.fault] == []
    assert any(end.code for end in ends), "nothing was damaged"


@pytest.mark.parametrize(
    ("harm", "fault"),
    [
        (lambda: 1 // 0, "a traceback"),
        (lambda: exec("while True: pass"), "SIGXCPU"),
        (lambda: fuzz.os.kill(fuzz.os.getpid(), 9), "SIGKILL"),
        (lambda: fuzz.os._exit(77), "exit code 77"),
        (lambda: fuzz.tempfile.mkdtemp(), "left behind: tmp"),
    ],
)
def test_faults_are_seen(harm: object, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "SECONDS", 1)
    monkeypatch.setattr(fuzz, "main", lambda *_, **__: harm())  # type: ignore[operator]
    assert fault in fuzz.run(["explain"], tmp_path).fault
