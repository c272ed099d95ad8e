"""An existing run, found by its name, with its config made to fit this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hdx.config.config import Config
    from hdx.store.rundir import RunDir


def existing_run(name: str, overrides: list[str]) -> tuple[Config, RunDir]:
    """The run and its config, with the run options in `overrides` and every path absolute.

    Raises: RunError when no run, or more than one, has the name; ConfigError for an option that is part of its identity.
    """
    from pathlib import Path

    from hdx.config.paths import absolute_in
    from hdx.config.validate import load_saved
    from hdx.store.rundir import find_run

    changes = _machine_options(overrides)
    run_dir = find_run(name, Path(changes.get("output_dir", "outputs")))
    config = load_saved(run_dir.config_file).replace(**changes)
    home = run_dir.path.parents[1]
    if home.name == "runs" and run_dir.path == home / config.run_id:
        config = config.replace(output_dir=str(home.parent))  # wherever the folder was moved to
    elif "output_dir" not in changes:  # a directory that lies elsewhere does not say where hdx keeps its caches
        config = config.replace(output_dir="outputs")
    return absolute_in(config), run_dir


def _machine_options(overrides: list[str]) -> dict[str, Any]:
    """The run options in `overrides`, checked."""
    from hdx.config.identity import unhashed
    from hdx.config.validate import load
    from hdx.errors import ConfigError

    allowed = [key for key in unhashed() if key != "seed"]
    keys = [override.partition("=")[0] for override in overrides]
    fixed = [key for key in keys if key not in allowed]
    if fixed:
        raise ConfigError(
            f"{fixed[0]}: a run keeps its config; expected one of {', '.join(allowed)}  (another config: hdx train)"
        )
    config = load(overrides)
    return {key: config[key] for key in keys}
