"""The command line: one file per subcommand, arguments only; the work is imported inside `run()`.

A subcommand `foo` is the file `cli/foo.py` and a line in `COMMANDS` of `cli/main.py`. The file has

- `SUMMARY: str`, one line for `hdx --help`;
- `add_arguments(parser: argparse.ArgumentParser) -> None`; `_common.add_config_arguments(parser)` adds overrides, `-cd`
  and `--cfg`, `_common.add_json_argument(parser)` adds `--json`;
- `run(args: argparse.Namespace) -> int`, which returns the exit code. `_common.config_from(args)` gives the checked
  config, `_common.print_json(value)` prints the one document of `--json`, and any `HdxError` may be raised: `main` prints
  it (as `{"error": [lines]}` on stdout under `--json`).

At module level a subcommand imports the standard library and `hdx.cli` only: `hdx --help` imports them all.
"""
