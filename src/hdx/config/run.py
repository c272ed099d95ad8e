"""The options at the top level of a config: how and where a run is done, whatever it consists of."""

from __future__ import annotations

from typing import Literal

from hdx.options import NonNegativeInt, PositiveInt, Seed, Unhashed


class Run:
    """How and where a run is done.

    Source: hdx

    Args:
        seed: seed of every random stream, and part of the run's identity but not of its group's.
        data_dir: folder that holds the files of datasets; null means $HDX_DATA, then ./data.
        output_dir: folder of runs and caches.
        devices: ranks on each machine: GPUs, or processes on a CPU.
        nodes: machines.
        accelerator: what to compute on; auto takes a GPU where there is one.
        precision: of the forward passes of the body; heads and statistics stay in 32 and 64 bits.
        feature_dtype: storage of the features bank; float16 halves its size.
        threads: of torch in each process; null leaves torch's own choice.
        workers: decoding processes of datasets that are streamed from disk.
    """

    def __init__(
        self,
        *,
        seed: Unhashed[Seed] = 0,
        data_dir: Unhashed[str | None] = None,
        output_dir: Unhashed[str] = "outputs",
        devices: Unhashed[PositiveInt] = 1,
        nodes: Unhashed[PositiveInt] = 1,
        accelerator: Unhashed[Literal["auto", "cpu", "gpu"]] = "auto",
        precision: Literal["32", "bf16-mixed", "16-mixed"] = "32",
        feature_dtype: Literal["float32", "float16"] = "float32",
        threads: Unhashed[PositiveInt | None] = None,
        workers: Unhashed[NonNegativeInt] = 2,
    ) -> None:
        self.seed = seed
        self.data_dir = data_dir
        self.output_dir = output_dir
        self.devices = devices
        self.nodes = nodes
        self.accelerator = accelerator
        self.precision = precision
        self.feature_dtype = feature_dtype
        self.threads = threads
        self.workers = workers
