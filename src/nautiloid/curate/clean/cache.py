"""Answers of an endpoint on disk: what was paid for once is not asked again.

One SQLite file that many threads and processes may use at once; an answer is in it as soon as it
arrived, so a run that is killed goes on with the first piece that has none.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from nautiloid.core.errors import InputError

FILE = "answers.sqlite"
_TABLES = (
    "CREATE TABLE IF NOT EXISTS answers (key BLOB PRIMARY KEY, answer TEXT NOT NULL, "
    "tokens_in INTEGER NOT NULL, tokens_out INTEGER NOT NULL, calls INTEGER NOT NULL, "
    "seconds REAL NOT NULL) WITHOUT ROWID",
    # One row: what was spent on all of them, and on calls that gave no answer.
    "CREATE TABLE IF NOT EXISTS spent (id INTEGER PRIMARY KEY CHECK (id = 1), answers INTEGER, "
    "calls INTEGER, tokens_in INTEGER, tokens_out INTEGER, seconds REAL)",
    "INSERT OR IGNORE INTO spent VALUES (1, 0, 0, 0, 0, 0.0)",
)
_SPEND = (
    "UPDATE spent SET answers = answers + ?, calls = calls + ?, tokens_in = tokens_in + ?, "
    "tokens_out = tokens_out + ?, seconds = seconds + ?"
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What an endpoint said, and what it took.

    Args:
        text: As it came.
        tokens_in: Of the prompt, as the endpoint counts them; 0 where it does not say.
        tokens_out: Of the answer.
        calls: Requests until it came, failed ones included.
        seconds: Of all of them, waiting between them included.
    """

    text: str
    tokens_in: int = 0
    tokens_out: int = 0
    calls: int = 1
    seconds: float = 0.0


class Answers:
    """The cache of one folder, opened."""

    def __init__(self, folder: Path):
        self.path = folder / FILE
        self._lock = threading.Lock()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(self.path, timeout=120, check_same_thread=False)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=NORMAL")
            with self._database:
                for statement in _TABLES:
                    self._database.execute(statement)
        except (OSError, sqlite3.Error) as error:
            remedy = "name a folder that you may write to, or remove the file"
            raise InputError(str(self.path), str(error), remedy) from None

    def __enter__(self) -> Answers:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._database.close()

    def get(self, key: bytes) -> Answer | None:
        """The answer stored under a key."""
        with self._guarded():
            query = (
                "SELECT answer, tokens_in, tokens_out, calls, seconds FROM answers WHERE key = ?"
            )
            row = self._database.execute(query, (key,)).fetchone()
        return Answer(*row) if row else None

    def put(self, key: bytes, answer: Answer) -> None:
        """Store an answer; the first one under a key stays."""
        row = (key, answer.text, answer.tokens_in, answer.tokens_out, answer.calls, answer.seconds)
        with self._guarded(), self._database:
            query = "INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?, ?)"
            added = self._database.execute(query, row).rowcount
            self._add(added, answer)

    def spend(self, failed: Answer) -> None:
        """Count calls that gave no answer to keep."""
        with self._guarded(), self._database:
            self._add(0, failed)

    def _add(self, answers: int, spent: Answer) -> None:
        numbers = (spent.calls, spent.tokens_in, spent.tokens_out, spent.seconds)
        self._database.execute(_SPEND, (answers, *numbers))

    def totals(self) -> tuple[int, int, int, int, float]:
        """Answers, calls, tokens in, tokens out, and seconds of all that was ever asked."""
        with self._guarded():
            query = "SELECT answers, calls, tokens_in, tokens_out, seconds FROM spent"
            count, calls, tokens_in, tokens_out, seconds = self._database.execute(query).fetchone()
        return int(count), int(calls), int(tokens_in), int(tokens_out), float(seconds)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        with self._lock:
            try:
                yield
            except sqlite3.Error as error:
                raise InputError(
                    str(self.path), str(error), "free the disk or remove the file"
                ) from None
