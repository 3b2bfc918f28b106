"""The number of hypothesis' examples for tests in which each example takes long."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

EXAMPLES = os.environ.get("CLGEN_EXAMPLES")


def few(count: int) -> settings:
    """The same ``count`` examples each time; with CLGEN_EXAMPLES that many new ones, and what fails is shrunk."""
    return settings(
        max_examples=int(EXAMPLES or count),
        derandomize=EXAMPLES is None,
        phases=[Phase.explicit, Phase.reuse, Phase.generate, *([Phase.shrink] if EXAMPLES else [])],
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
