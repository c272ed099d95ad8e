"""Installed packages that bring components of their own, found by the entry-point group `hdx.components`; nothing is imported.

An entry point names either a package that is laid out as hdx is (`heads/foo.py` and `conf/head/foo.yaml` in it), or, under the
name `<group>.<name>`, one class: `module:Class`. The folder `conf` of the package is searched as that of hdx is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from hdx.config import source


@dataclass(frozen=True)
class Plugin:
    """An entry point.

    Attributes:
        name, value: as the package declares them.
        origin: the distribution and its version.
    """

    name: str
    value: str
    origin: str

    @property
    def package(self) -> str:
        """The package that is laid out as hdx is; of a class the top-level one that it is in."""
        return self.value.partition(":")[0].partition(".")[0] if ":" in self.value else self.value

    def says(self, problem: str) -> str:
        """A line of what is wrong with it."""
        return f"plugin {self.origin} ({self.name} = {self.value}): {problem}; it is left out"


@lru_cache(maxsize=1)
def installed() -> tuple[Plugin, ...]:
    """Every entry point, in the order of distributions and names; one that two folders of the path declare counts once."""
    from importlib.metadata import entry_points

    found = {
        Plugin(
            point.name,
            point.value.replace(" ", ""),
            f"{point.dist.name} {point.dist.version}" if point.dist else "without a name",
        )
        for point in entry_points(group="hdx.components")
    }
    return tuple(sorted(found, key=lambda plugin: (plugin.origin, plugin.name, plugin.value)))


def folder(package: str) -> Path | None:
    """The folder of a package; None where there is none."""
    file = source.file_of(package)
    return file.parent if file is not None and file.name == "__init__.py" else None


def conf_folder(package: str) -> Path | None:
    """Its config files; None where it has none."""
    home = folder(package)
    return home / "conf" if home is not None and (home / "conf").is_dir() else None


def conf_folders() -> list[Path]:
    """The config files of all plugins."""
    found = [conf_folder(plugin.package) for plugin in installed()]
    return list(dict.fromkeys(path.resolve() for path in found if path is not None))
