"""The options of `hdx.ops` in a run."""

from __future__ import annotations

from typing import ClassVar, Literal


class Ops:
    """Which form the hot kernels take; the results are the same within the rounding that each op states.

    Source: hdx

    Args:
        backend: auto takes native code where it is built (`hdx ops build`) and torch elsewhere; native refuses to run without;
            composite and reference are torch, fast and plain.
    """

    unhashed: ClassVar[bool] = True
    name = "default"

    def __init__(self, *, backend: Literal["auto", "native", "composite", "reference"] = "auto") -> None:
        self.backend = backend

    def apply(self, device: str) -> None:
        """Set the form for this process. Raises: OpsUnavailable where native code is demanded and not built for `device`."""
        from hdx.errors import OpsUnavailable
        from hdx.ops import dispatch

        if self.backend == "native" and (reason := dispatch.load(device)):
            raise OpsUnavailable(f"ops.backend=native: the {device} library cannot be used: {reason}")
        dispatch.set_backend(self.backend)
