"""A `--storage` that no study can live in: one line and exit code 2, whatever the command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from search import cache, run, status
from storage.opening import open_storage

COMMANDS: dict[str, tuple[Callable[[list[str]], int], list[str]]] = {
    "run": (run.main, ["--study", "xtreme_legal", "--data", "pocket"]),
    "status": (status.main, ["--study", "xtreme_legal"]),
    "cache": (cache.main, ["gc"]),
}


@pytest.fixture(params=list(COMMANDS))
def answer(
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[str], str]:
    """What a command answers to a storage."""
    monkeypatch.chdir(tmp_path)
    main, words = COMMANDS[request.param]

    def answer(url: str) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([*words, "--storage", url])
        assert ended.value.code == 2
        *_, line = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
        return line

    return answer


def test_no_url_is_answered_with_where_to_name_one(answer: Callable[[str], str]) -> None:
    assert "TRANSFER_SEARCH_STORAGE" in answer("")


@pytest.mark.parametrize("scheme", ["mysql+pymysql", "mariadb"])
def test_mysql_is_answered_with_postgresql(answer: Callable[[str], str], scheme: str) -> None:
    assert "use PostgreSQL" in answer(f"{scheme}://me@host/studies")


def test_a_database_of_another_version_is_named(
    answer: Callable[[str], str], tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'study.sqlite'}"
    storage = open_storage(url)
    with storage.engine.begin() as connection:
        connection.execute(sa.text("UPDATE transfer_schema SET version = 99"))
    storage.close()
    (tmp_path / "study.cache").mkdir()
    assert "found version 99, of a newer transfer-search" in answer(url)
