"""Where the files of a dataset are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hdx.errors import DataError


def locate(dataset: str, data_dir: Path | None, path: str | None, looked_for: Sequence[str]) -> Path:
    """The folder or .zip of a dataset: `path` where given, else the first of `looked_for` that exists under `data_dir`.

    Raises: DataError that lists what was looked for.
    """
    if path is not None:
        given = Path(path).expanduser()
        if not given.exists():
            raise DataError(f"dataset {dataset}: dataset.path={path} does not exist. Give a folder or a .zip that does")
        return given.resolve()
    advice = "Set data_dir=… or HDX_DATA, or dataset.path=…"
    wanted = f"Looked for: {', '.join(looked_for)}"
    if data_dir is None:
        raise DataError(f"dataset {dataset} not found: no data_dir is set. {wanted}. {advice}")
    for name in looked_for:
        if (data_dir / name).exists():
            return (data_dir / name).resolve()
    raise DataError(f"dataset {dataset} not found under {data_dir}. {wanted}. {advice}")
