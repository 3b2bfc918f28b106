"""Finds the spec that an artefact was generated from."""

from __future__ import annotations

import hashlib
import shlex
from pathlib import Path

from codegen.errors import SpecError
from codegen.frontend.reader import MOST_BYTES


def find_spec(name: str, sha256: str, folder: Path) -> Path:
    """The spec of this file name and hash, searched here, around the artefact, and in folders ``specs`` of those."""
    places = [Path.cwd(), *folder.resolve().parents]
    seen = []
    for place in places:
        for path in (place / name, place / "specs" / name):
            try:
                # Reading a pipe would block.
                if not path.is_file() or path.stat().st_size > MOST_BYTES:
                    continue
                content = path.read_bytes()
            except OSError:
                continue
            if hashlib.sha256(content).hexdigest() == sha256:
                return path
            seen.append(path)
    if seen:
        raise SpecError(
            f"{folder}: was generated from another version of {seen[0]}; build again, or give it with --spec"
        )
    raise SpecError(
        f"{folder}: its spec {name} is not here nor around it; give it with --spec {shlex.quote(name)}, or where it "
        "was built from a model file, --spec MODEL and the same --shape options"
    )
