"""Any operator behind any other: such specs build, and the launches compute in float64 what the spec says."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from codegen import build
from codegen.errors import ParameterError
from codegen.frontend.model import Model
from codegen.graph.bounded import FLOAT64
from codegen.passes.explain import report
from codegen.passes.fold import fold
from codegen.passes.fuse import fuse
from codegen.passes.simplify import simplify
from codegen.plan.copies import with_copies
from tests.support.networks import inputs_of
from tests.support.wild_specs import wild_spec

COUNT = int(os.environ.get("CLGEN_FUZZ", "60"))
SEED = int(os.environ.get("CLGEN_FUZZ_SEED", "0"))


def lowered(model: Model) -> build.Lowered:
    simplified, renamed = simplify(model.graph)
    folded, folds = fold(simplified, model.graph, renamed)
    launches, roles = fuse(folded)
    return build.Lowered(model, with_copies(launches), report(model.graph, folds, roles), Path("wild.toml"))


# 145, 892: a flattening dense layer of numbers without an axis of features, beside images in NHWC.
@pytest.mark.parametrize("seed", [*range(SEED, SEED + COUNT), 145, 892])
def test_it_builds_and_keeps_its_values(seed: int) -> None:
    model = wild_spec(seed).model
    network = lowered(model)
    for target in ("cpu", "gpu"):
        try:
            build.rendered(network, target)
        except ParameterError as error:
            assert "infinite or NaN everywhere" in str(error)
    given = inputs_of(model.graph, 1)
    with np.errstate(all="ignore"):
        wanted, got = model.graph.evaluate(given), network.launches.evaluate(given)
    noise = model.graph.evaluate_bounded(given, FLOAT64)
    for theirs, ours in zip(model.graph.outputs, network.launches.outputs, strict=True):
        y, bound = wanted[theirs.value], noise[theirs.value].error
        known = np.isfinite(y) & np.isfinite(bound) & (np.abs(y) < 1e30)
        far = np.abs(got[ours.value] - y) > 64 * bound + 1e-300
        assert not (known & far).any(), theirs.name
