"""From the paths in a list to the images of a tree, however much of the path the list writes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from hdx.datasets._kinds import is_image
from hdx.datasets._listing import composed
from hdx.datasets._roles import roles
from hdx.datasets._tree import Contents


class Finder:
    """Looks images up by the end of their names, with and without the ending of the file.

    Args:
        contents: the tree.
        role: which split the list is of; where two folders fit a list, the one named after the split is meant.
    """

    def __init__(self, contents: Contents, role: str) -> None:
        self.role = role
        self.root = composed(str(contents.files.path))
        self._named: dict[str, list[str]] = defaultdict(list)
        self._raw = {composed(name): name for name in contents.images}
        for name in self._raw:
            for whole in (name, name.rpartition(".")[0]):
                self._named[whole.rpartition("/")[2]].append(name)
                self._named[_end(whole)].append(name)

    def candidates(self, path: str) -> list[str]:
        """Names that end in the path."""
        ends = self._named.get(_end(path), [])
        return [name for name in ends if f"/{name}".endswith(f"/{path}") or f"/{name.rpartition('.')[0]}".endswith(f"/{path}")]

    def knows(self, path: str) -> bool:
        """Whether a cell can be the path of an image."""
        return bool(path) and any(self.candidates(each) for each in _shorter(self.tidied(path)))

    def tidied(self, path: str) -> str:
        """A path as the tree writes it: with slashes, without what leads to the tree."""
        path = path.replace("\\", "/") if "\\" in path and not self.candidates(path) else path
        path = path.removeprefix(f"{self.root}/")
        return "/".join(part for part in path.split("/") if part not in ("", "."))

    def find(self, paths: Sequence[str]) -> list[str | None]:
        """The image of each path; None where there is none, or where several fit.

        All paths begin in one folder of the tree where there is one such folder, and the leading folders that all paths share are
        left away where the tree does not have them, but for those that name a split.
        """
        tidy = [self.tidied(path) for path in paths]
        while tidy:
            options = [self.candidates(path) for path in tidy]
            if any(options) or (shorter := _without_first(tidy)) is None:
                break
            tidy = shorter
        prefix = self._prefix(tidy, options) if tidy else None
        if prefix is None:
            found = [each[0] if len(each) == 1 else None for each in options]
        else:
            found = [next((n for n in each if self._before(n, path) == prefix), None) for path, each in zip(tidy, options)]
        return [None if name is None else self._raw[name] for name in found]

    def _prefix(self, tidy: Sequence[str], options: Sequence[list[str]]) -> str | None:
        """The folder in which every path is found; None where there is none, or more than one."""
        shared: set[str] | None = None
        for path, names in zip(tidy, options):
            here = [self._before(name, path) for name in names]
            once = {each for each in here if here.count(each) == 1}
            shared = once if shared is None else shared & once
        if not shared or "" in shared or len(shared) == 1:
            return "" if shared and "" in shared else next(iter(shared), None) if shared else None
        own = [each for each in shared if self.role in roles(each.rstrip("/").split("/")).values()]
        return own[0] if len(own) == 1 else None

    @staticmethod
    def _before(name: str, path: str) -> str:
        whole = name if name.endswith(path) and is_image(path) else name.rpartition(".")[0]
        return whole[: len(whole) - len(path)]


def _end(path: str) -> str:
    """The last two parts: names like 0001.png are in every folder."""
    return "/".join(path.split("/")[-2:])


def _shorter(path: str) -> list[str]:
    """The path, and it without its first folders up to one that names a split."""
    parts, found = path.split("/"), [path]
    while len(parts) > 1 and not roles(parts[:1]):
        parts = parts[1:]
        found.append("/".join(parts))
    return found


def _without_first(paths: Sequence[str]) -> list[str] | None:
    heads = {path.partition("/")[0] for path in paths}
    if len(heads) != 1 or roles(heads) or not all("/" in path for path in paths):
        return None
    return [path.partition("/")[2] for path in paths]
