"""The dashboard as a browser meets it: a real server on a real study."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request

import pytest

from search.dashboard import main
from tests.search_tests.conftest import Workplace


def test_the_dashboard_serves_the_study_on_loopback(workplace: Workplace) -> None:
    assert workplace.search("--trials", "1", "--quiet").returncode == 0
    server = workplace.start(
        sys.executable, *("-m", "search.dashboard", "--study", "tiny.toml", "--port", "0")
    )
    try:
        assert server.stdout is not None
        url = server.stdout.readline().split()[0]
        assert url.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(url) as page:
            assert "<html" in page.read().decode().lower()
        api = url.partition("/dashboard")[0] + "/api/studies/1?after=0"
        with urllib.request.urlopen(api) as answer:
            study = json.load(answer)
        assert study["trials"][0]["state"] == "Complete"
        assert study["objective_names"] == ["gain on pocket corpora"]
        attributes = {item["key"]: item["value"] for item in study["user_attrs"]}
        assert "pocket corpora" in attributes["data"]
        assert "pocket corpora" in study["note"]["body"]
    finally:
        server.kill()
        server.communicate(timeout=20)


@pytest.mark.parametrize(
    ("study", "message"),
    [("tini", "Study 'tini' is not in sqlite:///transfer-search.sqlite. Did you mean 'tiny'?")],
)
def test_a_wrong_study_is_answered_with_the_nearest(
    workplace: Workplace,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    study: str,
    message: str,
) -> None:
    assert workplace.search("--trials", "1", "--quiet").returncode == 0
    monkeypatch.chdir(workplace.folder)
    with pytest.raises(SystemExit) as ended:
        main(["--study", study])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_no_database_is_made_by_looking_for_one(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(workplace.folder)
    with pytest.raises(SystemExit):
        main(["--study", "tiny"])
    assert "found no file transfer-search.sqlite" in capsys.readouterr().err
    assert not (workplace.folder / "transfer-search.sqlite").exists()


def test_a_port_in_use_is_answered_in_one_line(workplace: Workplace) -> None:
    assert workplace.search("--trials", "1", "--quiet").returncode == 0
    command = [sys.executable, "-m", "search.dashboard", "--study", "tiny", "--port"]
    first = workplace.start(*command, "0")
    try:
        assert first.stdout is not None
        port = first.stdout.readline().split("/")[2].partition(":")[2]
        second: subprocess.CompletedProcess[str] = workplace.run(*command, port)
        assert second.returncode == 2
        assert f"error: --port: {port} cannot be used here" in second.stderr
    finally:
        first.kill()
        first.communicate(timeout=20)
