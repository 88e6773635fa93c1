"""Raw files: resumed, checked by git's ids, kept whole or not at all."""

from __future__ import annotations

import errno
import io
import os
import resource
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from objectives.data import downloads
from objectives.data.data_source import CORPORA_VARIABLE
from objectives.data.downloads import RAW_HOST_VARIABLE, download_raw, raw_contents, raw_problem
from spaces.errors import DataError
from spaces.raw_source import RawFile, RawSource
from tests.raising import raises
from tests.raw_host import RawHost, blob, raw_host

COMMIT = "c" * 40
CONTENT = b"".join(b"word\tO\n" for _ in range(20_000))


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[RawHost]:
    monkeypatch.setattr(downloads, "_LONGEST_WAIT", 0.0)
    monkeypatch.setenv(CORPORA_VARIABLE, str(tmp_path / "corpora"))
    with raw_host() as running:
        monkeypatch.setenv(RAW_HOST_VARIABLE, running.address)
        yield running


def source_of(host: RawHost, **files: bytes) -> RawSource:
    """A source with files that the host has."""
    records = []
    for name, content in files.items():
        host.files[f"/me/corpus/{COMMIT}/data/{name}.txt"] = content
        records.append({"path": f"data/{name}.txt", "blob": blob(content), "split": "train"})
    record = {"repository": "me/corpus", "commit": COMMIT, "format": "tagged", "files": records}
    return RawSource.model_validate(record)


def wanted(source: RawSource) -> list[tuple[RawSource, RawFile]]:
    return [(source, file) for file in source.files]


def kept(tmp_path: Path) -> list[str]:
    files = (tmp_path / "corpora").rglob("*")
    return sorted(x.name for x in files if x.is_file() and x.suffix != ".lock")


def test_a_file_is_downloaded_once(host: RawHost, tmp_path: Path) -> None:
    source = source_of(host, a=CONTENT)
    told: list[tuple[str, int, int]] = []
    download_raw(wanted(source), lambda *said: told.append(said))
    download_raw(wanted(source))
    assert raw_contents(source, source.files[0]) == {"data/a.txt": CONTENT}
    assert told[-1] == ("me/corpus/data/a.txt", len(CONTENT), len(CONTENT))
    assert len(host.asked) == 1
    assert kept(tmp_path) == ["a.txt"]


def test_a_connection_that_is_cut_goes_on_where_it_broke(host: RawHost) -> None:
    source = source_of(host, a=CONTENT)
    host.breaks_after = len(CONTENT) // 3
    download_raw(wanted(source))
    assert raw_contents(source, source.files[0]) == {"data/a.txt": CONTENT}
    starts = [start for _, start in host.asked]
    assert starts == sorted(set(starts))
    assert len(starts) > 2


def test_a_killed_download_goes_on(host: RawHost, tmp_path: Path) -> None:
    source = source_of(host, a=CONTENT)
    part = tmp_path / "corpora" / "raw" / "me+corpus" / COMMIT / "data" / "a.txt.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT[:1000])
    download_raw(wanted(source))
    assert [start for _, start in host.asked] == [1000]
    assert kept(tmp_path) == ["a.txt"]


def test_one_that_was_killed_before_its_end_was_noted_is_not_asked_for_again(
    host: RawHost, tmp_path: Path
) -> None:
    source = source_of(host, a=CONTENT)
    part = tmp_path / "corpora" / "raw" / "me+corpus" / COMMIT / "data" / "a.txt.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT)
    download_raw(wanted(source))
    assert kept(tmp_path) == ["a.txt"]


def test_what_is_not_what_was_pinned_is_named_and_not_kept(host: RawHost, tmp_path: Path) -> None:
    source = source_of(host, a=CONTENT)
    host.files[f"/me/corpus/{COMMIT}/data/a.txt"] = b"made up"
    with raises(
        DataError,
        subject="me/corpus/data/a.txt",
        expected=blob(CONTENT),
        found=blob(b"made up"),
        advice="nothing of it was kept",
    ):
        download_raw(wanted(source))
    assert kept(tmp_path) == []


def test_a_file_that_was_damaged_later_is_removed(host: RawHost, tmp_path: Path) -> None:
    source = source_of(host, a=CONTENT)
    download_raw(wanted(source))
    (place,) = (tmp_path / "corpora").rglob("a.txt")
    place.write_bytes(CONTENT[:-1])
    with raises(DataError, subject="me/corpus/data/a.txt", expected=blob(CONTENT)):
        raw_contents(source, source.files[0])
    download_raw(wanted(source))
    assert raw_contents(source, source.files[0]) == {"data/a.txt": CONTENT}


@pytest.mark.parametrize("failures", [[429, 503, 500], [429, 429, 429, 429, 429]])
def test_a_host_that_is_busy_is_asked_again(host: RawHost, failures: list[int]) -> None:
    source = source_of(host, a=CONTENT)
    host.failures = [*failures]
    if len(failures) < 5:
        download_raw(wanted(source))
        assert raw_contents(source, source.files[0])
    else:
        found = "HTTP status 429, 5 times in a row"
        with raises(DataError, subject="data/a.txt: cannot be had from 127.0.0.1", found=found):
            download_raw(wanted(source))


def test_a_file_that_the_host_does_not_have_is_named(host: RawHost) -> None:
    source = source_of(host, a=CONTENT)
    host.files.clear()
    with raises(DataError, subject="data/a.txt", expected=f"/me/corpus/{COMMIT}/", found="404"):
        download_raw(wanted(source))
    assert len(host.asked) == 1


def test_at_most_four_are_under_way(host: RawHost) -> None:
    host.pause = 0.05
    source = source_of(host, **{f"file{number}": b"%d" % number for number in range(12)})
    download_raw(wanted(source))
    assert host.most_at_once == 4


def test_two_that_want_the_same_file_download_it_once(host: RawHost) -> None:
    host.pause = 0.1
    source = source_of(host, a=CONTENT)
    others = [threading.Thread(target=download_raw, args=[wanted(source)]) for _ in range(3)]
    for other in others:
        other.start()
    for other in others:
        other.join()
    assert len(host.asked) == 1
    assert raw_contents(source, source.files[0]) == {"data/a.txt": CONTENT}


def test_a_file_that_cannot_be_written_on_is_named_and_goes_on_later(
    host: RawHost, tmp_path: Path
) -> None:
    source = source_of(host, a=CONTENT)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (70_000, hard))
    try:
        with raises(DataError, subject="data/a.txt: cannot be kept", found="large"):
            download_raw(wanted(source))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert kept(tmp_path) == ["a.txt.part"]
    download_raw(wanted(source))
    assert host.asked[-1][1] > 0
    assert raw_contents(source, source.files[0]) == {"data/a.txt": CONTENT}


def test_a_folder_that_is_read_only_is_named_with_the_variable_that_names_another(
    host: RawHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, *_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(self))

    source = source_of(host, a=CONTENT)
    monkeypatch.setattr(Path, "mkdir", refuse)  # tests may run as root, whom no mode refuses
    with raises(DataError, subject="cannot be kept", found="Read-only", advice=CORPORA_VARIABLE):
        download_raw(wanted(source))


# --- folders


def archive() -> bytes:
    """A repository as GitHub packs it: a folder on top, and in it text/1.txt, text/a/2.txt, ..."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content, mode in (
            ("README.md", b"more", 0o644),
            ("text/1.txt", b"one\n", 0o755),
            ("text/a.txt", b"x", 0o644),
            ("text/a/2.txt", b"two\n", 0o644),
        ):
            member = tarfile.TarInfo(f"corpus-{COMMIT}/{name}")
            member.size, member.mode = len(content), mode
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


# What `git ls-tree HEAD` says of a folder with these files.
TREE = "37a099e74568b394d240031889afe63db6792237"


@pytest.mark.parametrize("tree", [TREE, "0" * 40])
def test_a_folder_comes_with_the_archive_and_is_known_by_its_tree(
    tree: str, host: RawHost, tmp_path: Path
) -> None:
    host.files[f"/me/corpus/tar.gz/{COMMIT}"] = archive()
    record = {"path": "text/", "blob": tree}
    source = source_of(host).model_copy(update={"files": (RawFile.model_validate(record),)})
    if tree == TREE:
        download_raw(wanted(source))
        found = raw_contents(source, source.files[0])
        assert found == {"1.txt": b"one\n", "a.txt": b"x", "a/2.txt": b"two\n"}
    else:
        with raises(DataError, subject="me/corpus/text/", expected="0" * 40, found=TREE):
            download_raw(wanted(source))
        assert kept(tmp_path) == []


def test_folders_of_two_repositories_are_each_looked_for_in_their_own(host: RawHost) -> None:
    record = RawFile.model_validate({"path": "text/", "blob": TREE})
    mine = source_of(host).model_copy(update={"files": (record,)})
    wrong = record.model_copy(update={"path": "labels/"})
    yours = mine.model_copy(update={"repository": "you/corpus", "files": (wrong,)})
    host.files[f"/me/corpus/tar.gz/{COMMIT}"] = archive()
    host.files[f"/you/corpus/tar.gz/{COMMIT}"] = archive()
    with raises(DataError, subject="you/corpus/labels/", expected=TREE):
        download_raw([*wanted(yours), *wanted(mine)])
    download_raw(wanted(mine))
    assert len(raw_contents(mine, record)) == 3


# --- whether the host is there


def test_a_host_that_answers_is_no_problem(host: RawHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    assert raw_problem() == ""
    monkeypatch.setenv(RAW_HOST_VARIABLE, "http://127.0.0.1:9")
    assert raw_problem() == "127.0.0.1:9 does not answer (ConnectError)"
    monkeypatch.setenv(RAW_HOST_VARIABLE, "127.0.0.1:9")
    with raises(DataError, subject=RAW_HOST_VARIABLE, expected="http://", found="'127.0.0.1:9'"):
        raw_problem()
    monkeypatch.delenv(RAW_HOST_VARIABLE)
    monkeypatch.setenv("HTTPS_PROXY", "::proxy")
    with raises(DataError, subject="HTTPS_PROXY", expected="http://proxy:3128", found=":proxy"):
        raw_problem()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert raw_problem() == "the network is switched off (HF_HUB_OFFLINE)"
