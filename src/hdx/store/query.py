"""SQL over the runs, by DuckDB in memory: three tables made from the index, and nothing else within reach.

Before a user's statement runs, DuckDB is cut off from files, networks, extensions and Python's variables, and its settings
are locked; only a single SELECT (or EXPLAIN) is taken.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from hdx.errors import ConfigError, HdxError

TEXT, NUMBER, COUNT, TIME = "VARCHAR", "DOUBLE", "BIGINT", "TIMESTAMP"
#: Columns of `runs` beside one for each metric: name -> (type, meaning).
COLUMNS: dict[str, tuple[str, str]] = {
    "run_id": (TEXT, "exp/hash-sSEED"),
    "exp": (TEXT, "name of the preset"),
    "group": (TEXT, 'hash of the config that the seeds share; a word of SQL, so write "group"'),
    "seed": (COUNT, "seed"),
    "state": (TEXT, "finished, running, interrupted, failed or new"),
    "reason": (TEXT, "why it failed or was interrupted"),
    "created": (TIME, "when the run was first asked for (UTC)"),
    "finished": (TIME, "when its record was written (UTC)"),
    "age": (NUMBER, "seconds since it ended or last gave a sign of life"),
    "dataset": (TEXT, "chosen config of the group dataset"),
    "backbone": (TEXT, "chosen backbone"),
    "pool": (TEXT, "chosen pool"),
    "adapter": (TEXT, "chosen adapter"),
    "head": (TEXT, "chosen head"),
    "method": (TEXT, "chosen method"),
    "memory": (TEXT, "chosen memory"),
    "protocol": (TEXT, "chosen protocol"),
    "teacher": (TEXT, "chosen teacher"),
    "loss": (TEXT, "chosen loss"),
    "trainer": (TEXT, "chosen trainer"),
    "n_sessions": (COUNT, "sessions of the protocol"),
    "sessions_done": (COUNT, "finished sessions"),
    "classes": (COUNT, "classes of the dataset"),
    "trainable_parameters": (COUNT, "parameters of the body that train"),
    "head_parameters": (COUNT, "parameters of a gradient head"),
    "images_forwarded": (COUNT, "images put through the body for features"),
    "images_trained": (COUNT, "images seen by the gradient phase, epochs included"),
    "seconds": (NUMBER, "seconds of work"),
    "peak_memory_mb": (NUMBER, "peak memory in MB"),
    "device": (TEXT, "cpu or cuda"),
    "precision": (TEXT, "effective precision"),
    "dir": (TEXT, "run directory"),
}
SESSIONS = {
    "run_id": (TEXT, "of the run"),
    "session": (COUNT, "number of the session, from 0"),
    "accuracy": (NUMBER, "accuracy over all classes seen by then"),
}
OPTIONS = {
    "run_id": (TEXT, "of the run"),
    "option": (TEXT, "dotted config option, as head.ridge"),
    "value": (TEXT, "its value as text"),
}
LOCKS = (
    "set python_enable_replacements = false",
    "set autoinstall_known_extensions = false",
    "set autoload_known_extensions = false",
    "set enable_external_access = false",
    "set lock_configuration = true",
)


class QueryError(HdxError):
    """A statement that DuckDB refuses, or that is not a query."""


def columns(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, tuple[str, str]]]:
    """Table -> column -> (type, meaning), with a column for each metric of these runs."""
    metrics = dict.fromkeys(name for row in rows for name in row["metrics"] if name not in COLUMNS)
    measured = dict.fromkeys(metrics, (NUMBER, "metric"))
    return {"runs": {**COLUMNS, **measured}, "sessions": SESSIONS, "options": OPTIONS}


def ask(rows: Sequence[dict[str, Any]], sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """The answer to a query: names of its columns, and its rows.

    Raises: ConfigError when DuckDB is not installed; QueryError with DuckDB's first line for a statement it refuses.
    """
    try:
        import duckdb
    except ImportError:
        raise ConfigError('hdx query needs DuckDB: pip install "hdx[query]"  (or: pip install duckdb)') from None
    database = duckdb.connect(":memory:")
    try:
        statements = database.extract_statements(sql)
        kinds = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)
        if len(statements) != 1 or statements[0].type not in kinds:
            got = f"{len(statements)} statements" if len(statements) != 1 else f"a {statements[0].type.name} statement"
            raise QueryError(f"expected one select statement over runs, sessions or options, got {got}  (hdx query --columns)")
        _fill(database, rows, sql.lower())
        for lock in LOCKS:
            database.execute(lock)
        database.execute(sql)
        return [column[0] for column in database.description or []], database.fetchall()
    except duckdb.Error as error:
        raise QueryError(f"{' '.join(str(error).partition(chr(10))[0].split())}  (hdx query --columns)") from None
    finally:
        database.close()


def _fill(database: Any, rows: Sequence[dict[str, Any]], sql: str) -> None:
    """The tables; the long ones only where the statement names them."""
    tables = columns(rows)
    _table(database, "runs", tables["runs"], [_run(row, tables["runs"]) for row in rows])
    accuracies = ((row["run_id"], row["session_accuracies"]) for row in rows if "sessions" in sql)
    _table(database, "sessions", SESSIONS, [(run_id, i, acc) for run_id, all_ in accuracies for i, acc in enumerate(all_)])
    options = ((row["run_id"], row["options"].items()) for row in rows if "options" in sql)
    _table(database, "options", OPTIONS, [(run_id, key, _text(value)) for run_id, items in options for key, value in items])


def _run(row: dict[str, Any], wanted: dict[str, tuple[str, str]]) -> tuple[Any, ...]:
    return tuple(row[name] if name in row else row["metrics"].get(name) for name in wanted)


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)


def _table(database: Any, name: str, wanted: dict[str, tuple[str, str]], rows: list[tuple[Any, ...]]) -> None:
    """Make a table from rows, by way of columns of numpy: inserting row by row takes a millisecond each."""
    import numpy as np

    names = ", ".join(f'"{column}" {kind}' for column, (kind, _) in wanted.items())
    database.execute(f"create table {name} ({names})")
    if not rows:
        return
    made = {f"c{i}": _column(np, values, kind) for i, (values, (kind, _)) in enumerate(zip(zip(*rows), wanted.values()))}
    database.register("made", made)
    casts = (f"make_timestamp((c{i} * 1e6)::bigint)" if kind == TIME else f"c{i}" for i, (kind, _) in enumerate(wanted.values()))
    database.execute(f"insert into {name} select {', '.join(casts)} from made")
    database.unregister("made")


def _column(np: Any, values: Sequence[Any], kind: str) -> Any:
    if kind == TEXT:
        return np.array([None if value is None else str(value) for value in values], dtype=object)
    gaps = np.array([not isinstance(value, (int, float)) for value in values])
    numbers = np.array([0 if gap else value for gap, value in zip(gaps, values)], dtype=np.int64 if kind == COUNT else np.float64)
    return np.ma.masked_array(numbers, mask=gaps)
