"""Trained bodies: what a gradient phase came to, kept so that runs that differ only in what follows do not repeat it.

A file is named by everything that decides the outcome: the body and the classifier before the first step, the images, their order
(seed), the method, loss and recipe, the precision and torch's version. So heads, shots and evaluations share one training.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from hdx import digest
from hdx.config import identity
from hdx.datasets._base import ImageSet
from hdx.engine.state import check_fit
from hdx.methods._base import Method, Phase
from hdx.seeds import train_seed
from hdx.store.files import write_bytes

log = logging.getLogger("hdx")
#: Options of the recipe that have no say in a phase on images.
ELSEWHERE = {"feature_epochs", "eval_batch_size"}


class TrainedBodies:
    """The files under one folder.

    Args:
        root: the folder; safe to delete.
        run_id: of the run that asks, noted in what it writes.
    """

    def __init__(self, root: Path, run_id: str) -> None:
        self.root, self.run_id = root, run_id

    def key(
        self,
        config: dict[str, Any],
        method: Method,
        phase: Phase,
        body: str,
        images: ImageSet,
        labels: np.ndarray,
        parts: tuple[int, ...],
    ) -> str | None:
        """The name of a phase's outcome; None where it is not to be shared: the head trains along, or the method has a
        memory or a teacher.

        Args:
            config: of the run.
            body: the body's digest; images: what `phase.indices` mean; labels: [N] positions of the logits.
            parts: session and number of the phase, of the seeds' streams; the run's seeds are in `config`.
        """
        if phase.inputs != "images" or phase.raw or any(part is method.head for part in phase.classifier.modules()):
            return None
        if method.extra_state() or method.previous is not None:
            return None
        about: dict[str, Any] = {
            "body": body,
            "samples": [images.samples_digest(phase.indices), digest.of_arrays(labels)],
            "classifier": [repr(phase.classifier), _digest(phase.classifier)],
            **{group: identity.component(config, group) for group in ("adapter", "method", "loss", "augment")},
            "trainer": _recipe(config),
            "seed": [train_seed(config), *parts],
            "device": str(next(method.body.parameters()).device.type),
            "torch": torch.__version__.partition("+")[0],
        }
        about |= {"beside": [repr(method.beside), _digest(method.beside)]} if len(method.beside) else {}
        if isinstance(phase.targets, Tensor):
            about["targets"] = digest.of_arrays(phase.targets.cpu().numpy())
        return digest.of_json(about)[:32]

    def load(self, key: str, method: Method, phase: Phase) -> dict[str, str] | None:
        """Put body and classifier in the state after the phase. Returns: `{run, loss, seconds}`, or None where there is none; a
        damaged file counts as none, with a warning."""
        path = self._file(key)
        if not path.exists():
            return None
        try:
            state = load_file(path)
            about = _metadata(path)
            body = {name[5:]: value for name, value in state.items() if name.startswith("body/")}
            classifier = {name[11:]: value for name, value in state.items() if name.startswith("classifier/")}
            beside = {name[7:]: value for name, value in state.items() if name.startswith("beside/")}
            check_fit(body, method.body.changed_state())
            check_fit(classifier, phase.classifier.state_dict())
            check_fit(beside, method.beside.state_dict())
        except Exception as error:
            log.warning(
                "trained body %s is damaged (%s); training again", path, " ".join(str(error).split()) or type(error).__name__
            )
            return None
        method.body.load_changed(body)
        phase.classifier.load_state_dict(classifier)
        method.beside.load_state_dict(beside)
        return about

    def save(self, key: str, method: Method, phase: Phase, loss: float | None, seconds: float) -> None:
        """Keep the state after the phase, and what it took."""
        tensors = {f"body/{name}": value for name, value in method.body.changed_state().items()}
        tensors |= {f"classifier/{name}": value for name, value in phase.classifier.state_dict().items()}
        tensors |= {f"beside/{name}": value for name, value in method.beside.state_dict().items()}
        plain = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
        about = {"run": self.run_id, "seconds": f"{seconds:.3f}"} | ({} if loss is None else {"loss": repr(loss)})
        write_bytes(self._file(key), save(plain, metadata=about))

    def forget(self) -> None:
        """Remove what this run trained (`--force` trains again)."""
        for path in self.root.glob("*.safetensors"):
            if _metadata(path).get("run") == self.run_id:
                path.unlink(missing_ok=True)

    def _file(self, key: str) -> Path:
        return self.root / f"{key}.safetensors"


def _metadata(path: Path) -> dict[str, str]:
    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}
    except Exception:  # damaged; `load` warns about it
        return {}


def _recipe(config: dict[str, Any]) -> dict[str, Any]:
    """What a phase on images depends on."""
    unused = ELSEWHERE | ({"crop_seed"} if config["trainer"].get("crops") is None else set())
    found = identity.component(config, "trainer")
    return found | {"options": {name: value for name, value in found.get("options", {}).items() if name not in unused}}


def _digest(module: nn.Module) -> str:
    state: dict[str, Tensor] = module.state_dict()
    return digest.of_json([[name, digest.of_arrays(value.cpu().numpy())] for name, value in sorted(state.items())])
