"""From TOML tables to a checked spec: every key known, every name right, layers in order of computation."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from codegen.frontend import batch_norm, naming
from codegen.frontend.activation import ACTIVATION, read_activation
from codegen.frontend.kinds import PATH, TEXT, Key, Keys, choice, table, texts, whole, wholes
from codegen.frontend.layer import Operator
from codegen.frontend.operators import OPERATORS
from codegen.frontend.place import Place, listed, show, suggestion
from codegen.frontend.reader import many_tables, one_table, read_table, unknown_key
from codegen.frontend.weights import MODEL_LAYOUTS
