"""The manifest's own hash, which reveals a manifest that was edited."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

SEAL = "manifest_sha256"


def digest(manifest: Mapping[str, Any]) -> str:
    """The SHA-256, in hexadecimal digits, of the manifest without this hash, as JSON with sorted keys."""
    hashed = {key: value for key, value in manifest.items() if key != SEAL}
    return hashlib.sha256(json.dumps(hashed, sort_keys=True).encode()).hexdigest()


def sealed(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest with its hash as the last key."""
    return {**{key: value for key, value in manifest.items() if key != SEAL}, SEAL: digest(manifest)}
