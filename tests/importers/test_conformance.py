"""The ONNX backend suite on every runtime and in plain C.

As a program this prints what became of it, by operator and by reason, and the counts for every way to compile plain C.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

import pytest

from codegen.runtime.devices import DeviceInfo, list_devices
from tests.support.conformance import Outcome, cases, outcomes, outcomes_in_plain_c
from tests.support.generated_c import Tool
from tests.support.needs import ROOT, RUNTIMES
from tests.support.ways import WAYS, way

OTHER_NUMBERS = "numbers of less than 8 bits, floats of 8 bits, text"
WRAPPING = "arithmetic of unsigned and short integers, which wraps around"
SEQUENCES = "sequences, optional values and control flow"
TRAINING = "training"
CONSTANT = "nothing to compute: the output is the same for all inputs"
EMPTY = "tensors without elements"
INDEXED = "elements taken by indices that the network computes, or indices for that"

OPERATORS: dict[str, str] = {
    "recurrent networks": "GRU LSTM RNN",
    SEQUENCES: """
        Identity If Loop OptionalGetElement OptionalHasElement Scan SequenceInsert SequenceMap SplitToSequence""",
    "text": "RegexFullMatch StringConcat StringNormalizer StringSplit TfIdfVectorizer",
    TRAINING: "Adagrad Adam Momentum NegativeLogLikelihoodLoss SoftmaxCrossEntropyLoss",
    "quantized networks": """
        ConvInteger DequantizeLinear DynamicQuantizeLinear MatMulInteger QLinearConv QLinearMatMul QuantizeLinear""",
    "random numbers": "Bernoulli",
    "classical machine learning": "ArrayFeatureExtractor Binarizer LabelEncoder TreeEnsemble",
    "signal processing": "BlackmanWindow HammingWindow HannWindow MelWeightMatrix STFT",
    "attention and other operators of language models": """
        FlexAttention LinearAttention TensorScatter""",
    "shapes that depend on data": "Compress NonMaxSuppression NonZero Unique",
    "bits of numbers": "BitCast BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor",
    "images as files": "ImageDecoder",
    INDEXED: "DeformConv MaxUnpool RoiAlign",
    "operators that convolutional networks do without": "Det Range",
}
"""Operators that are refused altogether, by reason."""

WORDS: list[tuple[str, str, str]] = [
    ("", r"holds \w+; inputs should hold", OTHER_NUMBERS),
    ("", r"it makes numbers of type", OTHER_NUMBERS),
    ("", r"which wrap around in ONNX", WRAPPING),
    ("", r"in training mode|its mask is used", TRAINING),
    ("", r"has no output that depends on an input|has no input on which", CONSTANT),
    ("ConstantOfShape", "", CONSTANT),
    ("", r"a size of 0", EMPTY),
    ("pytorch-converted", r"Gather .* the network computes its indices", INDEXED),
    ("MaxPool", r"its second output, the indices, is used", INDEXED),
]
"""An operator or folder, words of the error, and the reason that they tell."""

_BY_OPERATOR = {name: reason for reason, names in OPERATORS.items() for name in names.split()}

FIGURE = re.compile(r"(\d+) cases pass, (\d+) fail and (\d+) are\s+refused")


def reason_of(outcome: Outcome) -> str | None:
    """Why a case may be refused; None if nothing in the list says so."""
    if outcome.group in _BY_OPERATOR:
        return _BY_OPERATOR[outcome.group]
    for group, words, reason in WORDS:
        if group in ("", outcome.group) and re.search(words, outcome.why):
            return reason
    return None


CHOSEN = {
    "test_resize_downsample_scales_linear_align_corners",
    "test_resize_downsample_scales_cubic_align_corners",
}
"""Cases of which the suite has other numbers than PyTorch and ONNX Runtime, whom clgen follows."""

NOT_IN_ONNXRUNTIME = {"CumProd", "SwiGLU"}
"""Operators of which only this suite has numbers."""

PARTS = 24


@pytest.mark.parametrize("part", range(PARTS))
def test_no_case_fails(part: int, find_device: Callable[[str], DeviceInfo]) -> None:
    devices = [find_device(runtime) for runtime in RUNTIMES]
    found = outcomes(devices, islice(cases(), part, None, PARTS))
    none_failed(found)


@pytest.mark.parametrize("part", range(PARTS))
def test_no_case_fails_in_plain_c(part: int, tool: Tool) -> None:
    """Each part in another way; `python -m tests.importers.test_conformance` takes all parts in every way."""
    found = outcomes_in_plain_c(way(part), tool, islice(cases(), part, None, PARTS))
    assert len(found) > 30
    none_failed(found)


def none_failed(found: Sequence[Outcome]) -> None:
    failed = [o for o in found if o.verdict == "failed"]
    assert not failed, "\n".join(f"{o.name}: {o.why}" for o in failed)
    assert {o.name for o in found if o.verdict == "chosen"} <= CHOSEN


def test_what_is_refused_has_a_reason_and_the_readme_the_figure() -> None:
    """Runs without a device: the other test builds and runs the networks that are planned here."""
    planned = outcomes([])
    assert {o.group for o in planned if o.verdict != "refused"} >= NOT_IN_ONNXRUNTIME
    refused = [o for o in planned if o.verdict == "refused"]
    strange = [o for o in refused if reason_of(o) is None]
    assert not strange, "\n".join(f"{o.group} {o.name}: {o.why}" for o in strange)

    # An operator that is no longer refused leaves the list.
    assert sorted(set(_BY_OPERATOR) - {o.group for o in refused}) == []
    rest = [o for o in refused if o.group not in _BY_OPERATOR]
    idle = [(g, w) for g, w, _ in WORDS if not any(g in ("", o.group) and re.search(w, o.why) for o in rest)]
    assert idle == []

    found = FIGURE.search((ROOT / "README.md").read_text())
    assert found is not None
    assert tuple(map(int, found.groups())) == (len(planned) - len(refused) - len(CHOSEN), 0, len(refused))


def table(report: Sequence[Outcome]) -> str:
    """Counts of all, by operator and by reason."""
    lines = [_counts(report, "cases")]
    groups = defaultdict(list)
    for o in report:
        groups[o.group].append(o)
    lines += ["", "by operator"]
    lines += [f"  {_counts(found, group)}" for group, found in sorted(groups.items())]
    lines += ["", "refused"]
    reasons = Counter(reason_of(o) or f"UNKNOWN: {o.name}: {o.why}" for o in report if o.verdict == "refused")
    lines += [f"  {count:5}  {reason}" for reason, count in reasons.most_common()]
    failed = [f"  {o.name}: {o.why}" for o in report if o.verdict == "failed"]
    return "\n".join([*lines, *(["", "failed", *failed] if failed else [])])


def _counts(report: Iterable[Outcome], what: str) -> str:
    counts = Counter(o.verdict for o in report)
    verdicts = ("passed", "failed", "refused", "chosen")
    return f"{what:<28}" + "  ".join(f"{counts[verdict]:4} {verdict}" for verdict in verdicts)


if __name__ == "__main__":
    platforms = {platform for platform, _ in RUNTIMES.values()}
    found = {d.platform: d for d in list_devices() if d.type == "CPU" and d.platform in platforms}
    print(table(outcomes(list(found.values()))))
    for each in WAYS:
        report = [
            outcome
            for part in range(PARTS)
            for outcome in outcomes_in_plain_c(each, str, islice(cases(), part, None, PARTS))
        ]
        print(_counts(report, str(each)))
        print(*(f"  {o.name}: {o.why}\n" for o in report if o.verdict == "failed"), sep="", end="")
