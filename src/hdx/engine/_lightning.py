"""Lightning, without what it never uses of torchmetrics, which imports every metric, scipy.signal and torchvision's models."""

from __future__ import annotations

import logging
import sys
from importlib import import_module, metadata, util
from types import ModuleType
from typing import Any

NAME = "torchmetrics"
ASKED = {"Metric": "metric", "MetricCollection": "collections"}  # what Lightning takes from it, and the modules that have it


class Package(ModuleType):
    """The package itself, whose own code runs once somebody asks for more than Lightning does."""

    def __getattr__(self, name: str) -> Any:
        if name == "__version__":
            return metadata.version(NAME)
        if name.startswith("__") and name != "__all__":
            raise AttributeError(name)
        self.__class__ = ModuleType  # type: ignore[assignment]
        assert self.__spec__ is not None and self.__spec__.loader is not None
        self.__spec__.loader.exec_module(self)
        return getattr(self, name)


def prepare() -> None:
    """Put the package in place with the two classes in it; a version of it that has them elsewhere is imported whole."""
    spec = None if NAME in sys.modules else util.find_spec(NAME)
    if spec is None:
        return
    package: Any = util.module_from_spec(spec)
    package.__class__, package._logger = Package, logging.getLogger(NAME)
    sys.modules[NAME] = package
    try:
        import_module(f"{NAME}.utilities")  # before the classes, which it imports in a circle
        for name, module in ASKED.items():
            setattr(package, name, getattr(import_module(f"{NAME}.{module}"), name))
    except (ImportError, AttributeError):
        for name in [each for each in sys.modules if each.partition(".")[0] == NAME]:
            del sys.modules[name]


prepare()

import pytorch_lightning as pl  # noqa: E402
from pytorch_lightning.plugins.environments import LightningEnvironment, TorchElasticEnvironment  # noqa: E402

__all__ = ["LightningEnvironment", "TorchElasticEnvironment", "pl"]
