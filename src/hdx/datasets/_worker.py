"""The processes that decode for streamed splits. No torch here, so that they start in a fraction of a second."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from multiprocessing import connection

from hdx.datasets._decode import n_cores


def workers() -> ProcessPoolExecutor:
    """The pool of this process, started at the first call; every streamed split uses it."""
    return _pool(os.getpid())


def forget_workers() -> None:
    """Let the next `workers()` start a new pool, after one whose process died."""
    _pool.cache_clear()


@lru_cache(maxsize=1)
def _pool(pid: int) -> ProcessPoolExecutor:
    # Spawned, because the parent may hold threads and a CUDA context, which a fork would break.
    return ProcessPoolExecutor(n_cores(), mp_context=multiprocessing.get_context("spawn"), initializer=_start)


def _start() -> None:
    """Leave Ctrl-C to the parent, and end when the parent is gone: an executor's workers outlive a killed one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
