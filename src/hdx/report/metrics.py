"""The numbers of a run record that a table or a plot can show: names, units, and how they are printed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hdx.errors import ConfigError
from hdx.registry import did_you_mean
from hdx.store.alone import alone, seconds


@dataclass(frozen=True)
class Metric:
    """How one number of the run record is shown.

    Attributes:
        unit: `%` for a share (kept in [0, 1] in records, shown and published times 100), `s`, `nats`, `MB`, `B` or nothing.
        place: keys that lead to it in the run record.
        decimals: digits after the point where it is printed.
        meaning: one line.
    """

    name: str
    unit: str
    place: tuple[str, ...]
    decimals: int
    meaning: str

    @property
    def scale(self) -> float:
        """What a recorded value is multiplied by to be shown."""
        return 100.0 if self.unit == "%" else 1.0

    def of(self, record: dict[str, Any]) -> float | None:
        """The value in shown units; None where a run has no such number (forgetting after one session)."""
        if self.name == "seconds":
            return seconds(record)
        if self.name.endswith("_alone"):
            return alone(record)[self.name.removesuffix("_alone")]
        node: Any = record
        for key in self.place:
            node = node.get(key) if isinstance(node, dict) else None
        return None if node is None or isinstance(node, (dict, list, str)) else self.scale * float(node)

    def text(self, value: float, sign: bool = False) -> str:
        """`93.21`, `-0.40`, and with `sign` `+1.20`."""
        return f"{value:{'+' if sign else ''},.{self.decimals}f}"


def _share(name: str, meaning: str) -> Metric:
    return Metric(name, "%", ("metrics", name), 2, meaning)


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        _share("acc", "mean over episodes of the accuracy on an episode's queries"),
        _share("acc_joint", "the same with the base classes among the candidates"),
        _share("acc_matched", "the same after matching predicted to true classes in each episode (a clustering score)"),
        _share("acc_last", "accuracy over all seen classes after the last session"),
        _share("acc_avg_inc", "mean over sessions of the accuracy over the classes seen by then"),
        _share("acc_task_mean", "mean of the accuracies of each session's classes after the last session"),
        _share("forgetting", "mean over earlier sessions' classes of best minus last accuracy"),
        _share("bwt", "mean over earlier sessions' classes of last minus first accuracy"),
        _share("pd", "first minus last session accuracy"),
        _share("acc_base", "last accuracy on the first session's classes"),
        _share("acc_novel", "last accuracy on all classes of later sessions"),
        _share("acc_harmonic", "harmonic mean of acc_base and acc_novel"),
        _share("ece_last", "expected calibration error (15 bins) after the last session"),
        Metric("nll_last", "nats", ("metrics", "nll_last"), 3, "negative log-likelihood after the last session"),
        Metric("gain_predictor", "", ("metrics", "gain_predictor"), 3, "mean cosine distance of the first session's images"),
        Metric("trainable_parameters", "", ("trainable_parameters",), 0, "parameters of the body that the method trains"),
        Metric("head_parameters", "", ("head_parameters",), 0, "trained parameters of the head"),
        Metric("head_state_bytes", "B", ("head_state_bytes",), 0, "all that the head keeps after the last session"),
        Metric("memory_images", "", ("memory_images",), 0, "training images that the memory keeps, at most over sessions"),
        Metric("memory_bytes", "B", ("memory_bytes",), 0, "those images as stored (uint8)"),
        Metric("images_forwarded", "", ("images_forwarded",), 0, "images put through the body for features"),
        Metric("images_trained", "", ("images_trained",), 0, "images seen by the gradient phase, epochs included"),
        Metric("seconds", "s", ("seconds", "wall"), 1, "seconds of work, interruptions left out"),
        Metric("images_forwarded_alone", "", (), 0, "the same as if no other run had put any through the same body"),
        Metric("images_trained_alone", "", (), 0, "the same as if no other run had trained the same body"),
        Metric("seconds_alone", "s", (), 1, "seconds of work, with those of what other runs had done for it"),
        Metric("peak_memory_mb", "MB", ("peak_memory_mb",), 0, "peak memory of the process, or of the GPU"),
    )
}


def find(name: str) -> Metric:
    """A metric by name. Raises: ConfigError with advice."""
    if name not in METRICS:
        raise ConfigError(unknown(name))
    return METRICS[name]


def unknown(name: str) -> str:
    """The line that says that there is no such metric."""
    return f"metric '{name}' is unknown.{did_you_mean(name, list(METRICS))}  (one of {', '.join(METRICS)})"
