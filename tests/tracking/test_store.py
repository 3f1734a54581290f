"""Which store a run is told to, and which are refused before anything begins."""

import sqlite3
from contextlib import closing

import pytest

from pipeline.tracking import Store, choose_store, reason_of, without_secrets


def test_a_flag_wins_over_the_environment_and_that_over_the_file(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    default = choose_store(None, tmp_path)
    assert (default.uri, default.artifacts) == (f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path / "mlartifacts")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://lab:5000")
    assert choose_store(None, tmp_path) == Store(uri="http://lab:5000")
    assert choose_store("sqlite:///x.db", tmp_path) == Store(uri="sqlite:///x.db")


@pytest.mark.parametrize(
    ("uri", "remote"),
    [
        ("sqlite:///x.db", False),
        ("sqlite+pysqlite:///x.db", False),
        ("http://lab:5000", True),
        ("https://lab", True),
        ("postgresql://lab/runs", True),
        ("databricks", False),
    ],
)
def test_only_what_has_to_answer_from_elsewhere_is_remote(uri, remote):
    assert Store(uri=uri).remote is remote


@pytest.mark.parametrize("uri", ["nonsense://here", "http://", "https://[bad", "sqlite:////dev/null/x.db"])
@pytest.mark.parametrize("look", [Store.check, Store.glance])
def test_nonsense_is_one_clear_line(look, uri):
    with pytest.raises(ValueError, match="--tracking-uri '.*' can't be used: .+") as caught:
        look(Store(uri=uri))
    assert "\n" not in str(caught.value)
    assert uri in str(caught.value)


@pytest.mark.parametrize("look", [Store.check, Store.glance])
def test_a_damaged_store_is_one_clear_line(look, tmp_path):
    (tmp_path / "mlflow.db").write_text("no database, whatever its name says" * 100)
    with pytest.raises(ValueError, match="can't be used"):
        look(choose_store(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path))


@pytest.mark.parametrize("look", [Store.check, Store.glance])
def test_a_server_that_does_not_answer_is_not_asked_by_the_check(look):
    look(Store(uri="http://127.0.0.1:9"))


def test_a_glance_opens_no_store_that_mlflow_has_made_before(tmp_path, monkeypatch):
    store = Store(uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.setattr(Store, "client", lambda _: pytest.fail("the store was opened"))
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        database.execute("CREATE TABLE alembic_version (version_num)")
    store.glance()


@pytest.mark.parametrize("other", ["missing", "empty"])
def test_a_glance_checks_whole_what_it_does_not_know(other, tmp_path, monkeypatch):
    checked = []
    monkeypatch.setattr(Store, "check", lambda store: checked.append(store))
    if other == "empty":
        (tmp_path / "mlflow.db").touch()
    store = Store(uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    store.glance()
    assert checked == [store]


def test_passwords_are_shown_nowhere():
    store = Store(uri="nonsense://me:secret@lab/x")
    with pytest.raises(ValueError, match="lab/x") as caught:
        store.check()
    assert "secret" not in str(caught.value) + store.shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("--tracking-uri http://u:p@h:1/x --seed 2", "--tracking-uri http://***@h:1/x --seed 2"),
        ("http://u:p@ss@h/x", "http://***@h/x"),
        ("postgresql://h/d?user=u&password=p%40&sslmode=on", "postgresql://h/d?user=u&password=***&sslmode=on"),
        (
            "python '--tracking-uri=mysql://h/d?ssl_key=k' --limit 3",
            "python '--tracking-uri=mysql://h/d?ssl_key=***' --limit 3",
        ),
        ("mssql://?odbc_connect=PWD%3Dp", "mssql://?odbc_connect=***"),
        ("what is 2 > 1? password=none; ask me@lab", "what is 2 > 1? password=none; ask me@lab"),
    ],
)
def test_passwords_are_blotted_out_and_nothing_else(text, shown):
    assert without_secrets(text) == shown


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "API request to http://h failed with exception HTTPConnectionPool(host='h', port=9): Max retries exceeded "
            "with url: /api (Caused by NewConnectionError(\"HTTPConnection(host='h', port=9): Failed to establish a "
            'new connection: [Errno 111] Connection refused"))',
            "Connection refused",
        ),
        ("Max retries exceeded with url: /a (Caused by ReadTimeoutError('Read timed out. (timeout=8)'))", "timed out"),
        ("Max retries exceeded (Caused by ResponseError('too many 503 error responses'))", "too many 503"),
        ("RESOURCE_DOES_NOT_EXIST: no such run\nand more", "RESOURCE_DOES_NOT_EXIST: no such run"),
        ("", "ValueError"),
        ("x" * 999, "x" * 200),
    ],
)
def test_reasons_are_short(text, reason):
    told = reason_of(ValueError(text))
    assert reason in told
    assert len(told) <= 200
    assert "Max retries" not in told
