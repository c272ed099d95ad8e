"""Digests of tensors, arrays and plain data: what keys the caches."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np


def of_json(value: Any) -> str:
    """Hex sha256 of plain data (dicts, lists, numbers, strings), independent of key order."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def of_arrays(*arrays: np.ndarray) -> str:
    """Hex sha256 of the dtype, shape and bytes of arrays."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
