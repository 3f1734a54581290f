"""Where runs are recorded: an MLflow server by its URI, or a database file beside the run folders."""

from __future__ import annotations

import logging
import os
import re
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

DATABASE_SERVERS = ("postgresql", "mysql", "mssql")
"""Schemes of stores that are servers though no HTTP is spoken with them."""
QUIET = {
    "mlflow": logging.WARNING,  # tells of its own progress, as the next one does
    "alembic": logging.WARNING,
    "mlflow.system_metrics": logging.CRITICAL,  # these complain of what users are told once, in other words
    "mlflow.store.db.utils": logging.CRITICAL,
    "urllib3.connectionpool": logging.ERROR,
}
"""Least levels of what others' loggers have to say."""
SECRETS = r"([?&](?:[\w.-]*(?:password|passwd|passphrase|pwd|token|secret|key)|odbc_connect)=)[^&\s#'\"]+"
"""Words of a query that are nobody else's business, such as `?password=...` of a database's URI."""
REASON_CHARS = 200
"""What of an error's text is passed on."""


@dataclass(frozen=True, kw_only=True)
class Store:
    """One place where runs are recorded."""

    uri: str
    """MLflow's URI of it."""
    artifacts: Path | None = None
    """Folder for the files of new experiments; none where the server decides."""

    @property
    def remote(self) -> bool:
        """Whether something else than a file has to answer."""
        return urlsplit(self.uri).scheme.split("+")[0] not in ("", "file", "sqlite")

    @property
    def shown(self) -> str:
        """The URI as it may be shown."""
        return without_secrets(self.uri)

    def glance(self) -> None:
        """Refuses what can be no store; MLflow, which takes seconds to import, is asked only where one can't see that.

        Raises:
            ValueError: As `check` does.
        """
        if not _names_host(self.uri) and not _is_database(self.uri):
            self.check()

    def check(self) -> None:
        """Refuses what can be no store, without asking it anything.

        Raises:
            ValueError: There is no such kind of store, or it names no host.
        """
        try:
            parts = urlsplit(self.uri)
            if parts.scheme.split("+")[0] not in DATABASE_SERVERS:  # those would be connected to at once
                self.client()
        except Exception as error:  # of whichever library knows the scheme: MLflow's, SQLAlchemy's, urllib's
            if not is_busy(error):
                raise self.unusable(error) from error
        if parts.scheme in ("http", "https") and not parts.hostname:
            raise self.unusable(ValueError("it names no host"))

    def client(self) -> Any:
        """An MLflow client for it; for a file or a database this connects, and makes what is not there."""
        prepare_mlflow()
        import mlflow

        return mlflow.MlflowClient(tracking_uri=self.uri)

    def unusable(self, error: Exception) -> ValueError:
        """What to tell users whose store can't be used."""
        return ValueError(f"--tracking-uri {self.shown!r} can't be used: {reason_of(error)}")


def choose_store(tracking_uri: str | None, folder: Path) -> Store:
    """The store that was asked for, else that of the environment, else a file.

    Args:
        tracking_uri: What a flag or a config names.
        folder: Where the file `mlflow.db` and its artifacts lie by default.
    """
    named = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
    if named:
        return Store(uri=named)
    return Store(uri=f"sqlite:///{folder / 'mlflow.db'}", artifacts=folder / "mlartifacts")


def prepare_mlflow() -> None:
    """Leaves stdout to the result, has requests to a server that does not answer end soon, and none go to others."""
    for name, level in QUIET.items():
        logging.getLogger(name).setLevel(level)
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")  # it sets its loggers' levels anew as it is imported
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # else its makers are told, while a run is waited for
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "8")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # for a connection that the server had closed
    os.environ.setdefault("MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER", "false")


def reason_of(error: BaseException) -> str:
    """What an error says, on one line of bounded length, without passwords."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    line = lines[0] if lines else type(error).__name__
    if "Max retries exceeded" in line:  # the HTTP client's own words for everything, with the reason at their end
        named = re.search(
            r"(?<=\] )[\w ]+(?='\)|\)|\")|[Rr]ead timed out|[Cc]onnect timeout|too many \d+ error\w*[\w ]*", line
        )
        line = named[0] if named else line
    return without_secrets(line)[:REASON_CHARS]


def _names_host(uri: str) -> bool:
    """Whether it is the address of a server."""
    try:
        parts = urlsplit(uri)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _is_database(uri: str) -> bool:
    """Whether it names a file that SQLite reads and in which MLflow has made tables before."""
    named = re.fullmatch(r"sqlite(?:\+pysqlite)?:///([^?]+)", uri)
    if not named or not os.access(named[1], os.W_OK):
        return False
    try:
        with closing(sqlite3.connect(f"{Path(named[1]).absolute().as_uri()}?mode=ro", uri=True)) as database:
            return bool(database.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchall())
    except sqlite3.Error:
        return False


def is_busy(error: BaseException) -> bool:
    """Whether SQLite says that somebody else is writing its file: it will be free again, as a server will be up."""
    return "database is locked" in str(error)


def without_secrets(text: str) -> str:
    """A text with what its URIs say of users and passwords blotted out: before their host, and in their query."""
    named = re.sub(r"(?<=://)[^/\s'\"]+@", "***@", text)
    return re.sub(SECRETS, r"\1***", named, flags=re.IGNORECASE)
