"""Raw files of public repositories: downloaded, resumed where it broke off, checked by git's ids.

A file lies under its final name only when it is whole and is what was pinned; before that its
bytes are in a file of that name and `.part`, which the next attempt goes on with. Whoever
downloads holds a lock on the file, so that of two processes the second finds what the first has
got. Proxies are taken from the usual variables.
"""

from __future__ import annotations

import errno
import os
import random
import tarfile
import threading
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import filelock
import httpx2

from objectives.data.data_source import CORPORA_VARIABLE, corpora_folder
from objectives.data.git_ids import archived_folder, blob_id
from spaces.errors import DataError, first_line
from spaces.raw_source import FILE_ADDRESS, RawFile, RawSource

RAW_HOST_VARIABLE = "TRANSFER_SEARCH_RAW_HOST"
"""Base address, as in http://127.0.0.1:8000, that stands for the hosts of raw files: a mirror."""
AT_ONCE = 4
_TIMEOUT = httpx2.Timeout(30.0, connect=10.0)
# Whether the host is there is asked once a run, and should not take long where it is not.
_PROBE_SECONDS = 3.0
# Attempts in a row that bring no byte; waits between them are 1, 2, 4 and 8 seconds.
_ATTEMPTS = 5
_LONGEST_WAIT = 60.0
_ARCHIVE = "archive.tar.gz"

OnBytes = Callable[[str, int, int], None]
"""Called with a download's name, its bytes so far and in all (0: not known), from any thread."""


@dataclass(frozen=True)
class _Download:
    """One file to get; several folders of a repository are one archive.

    Attributes:
        name: Name for messages.
        address: Where it is asked for.
        place: Where it will lie.
        size: Bytes; 0 where not known.
        problem: Why what was downloaded to a path is not what was pinned; None if it is.
    """

    name: str
    address: str
    place: Path
    size: int
    problem: Callable[[Path], DataError | None]


class _Passing(Exception):
    """A failure that another attempt may not meet.

    Attributes:
        wait: Seconds that the host asks to wait; 0 where it does not say.
    """

    def __init__(self, said: str, wait: float = 0.0) -> None:
        super().__init__(said)
        self.wait = wait


def raw_problem() -> str:
    """Why raw files cannot be had; empty if their host answers.

    Raises:
        DataError: A variable names a mirror or a proxy that is no address.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        return "the network is switched off (HF_HUB_OFFLINE)"
    address = _at_host(FILE_ADDRESS)
    host = urllib.parse.urlsplit(address)
    try:
        with _client(httpx2.Timeout(_PROBE_SECONDS)) as client:
            client.head(f"{host.scheme}://{host.netloc}/", follow_redirects=False)
    except httpx2.HTTPError as error:
        return f"{host.netloc} does not answer ({type(error).__name__})"
    return ""


def raw_contents(source: RawSource, file: RawFile) -> Mapping[str, bytes]:
    """What was downloaded: the file's path -> content, of a folder each file's path in it.

    Raises:
        DataError: It is not there, or not what it was any more; then it is removed.
    """
    place = _place(source, file)
    try:
        if file.is_folder:
            found, contents = archived_folder(place, file.path)
        else:
            found, contents = blob_id(place), {file.path: place.read_bytes()}
    except (OSError, EOFError, tarfile.TarError) as error:
        raise DataError(str(place), "a downloaded file", first_line(error)) from error
    if problem := _differs(f"{source.repository}/{file.path}", file.blob, found):
        place.unlink()
        raise problem
    return contents


def download_raw(
    wanted: Sequence[tuple[RawSource, RawFile]], on_bytes: OnBytes | None = None
) -> None:
    """Download files that are not there yet, at most four at a time.

    Raises:
        DataError: A file cannot be had or kept, or is not what was pinned; then it is not kept.
    """
    downloads: dict[Path, _Download] = {}
    for source, file in wanted:
        place = _place(source, file)
        if place not in downloads and not place.exists():
            folders = [x for of, x in wanted if x.is_folder and _place(of, x) == place]
            downloads[place] = _download(source, file, folders)
    if not downloads:
        return
    stop = threading.Event()
    with (
        _client(_TIMEOUT) as client,
        ThreadPoolExecutor(AT_ONCE, thread_name_prefix="download") as pool,
    ):
        tell = on_bytes or (lambda name, done, size: None)
        futures = [pool.submit(_get, x, client, tell, stop) for x in downloads.values()]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)
        for future in done:
            future.result()


def _client(timeout: httpx2.Timeout) -> httpx2.Client:
    try:
        return httpx2.Client(timeout=timeout, follow_redirects=True)
    except (httpx2.InvalidURL, ValueError) as error:  # of what environment variables say
        raise DataError(
            "HTTPS_PROXY, HTTP_PROXY or ALL_PROXY",
            "the address of a proxy, as in http://proxy:3128",
            first_line(error),
        ) from error


# --- what to get


def _place(source: RawSource, file: RawFile) -> Path:
    folder = corpora_folder() / "raw" / source.repository.replace("/", "+") / source.commit
    return folder / (_ARCHIVE if file.is_folder else file.path)


def _download(source: RawSource, file: RawFile, folders: Sequence[RawFile]) -> _Download:
    template = source.archive if file.is_folder else source.address
    path = urllib.parse.quote(file.path)
    address = template.format(repository=source.repository, commit=source.commit, path=path)
    name = f"{source.repository}/{_ARCHIVE if file.is_folder else file.path}"

    def problem(at: Path) -> DataError | None:
        if not file.is_folder:
            return _differs(name, file.blob, blob_id(at))
        for folder in folders:
            try:
                found = archived_folder(at, folder.path)[0]
            except (OSError, EOFError, tarfile.TarError) as error:
                return DataError(name, "a .tar.gz of the repository", first_line(error))
            if wrong := _differs(f"{source.repository}/{folder.path}", folder.blob, found):
                return wrong
        return None

    size = 0 if file.is_folder else file.size
    return _Download(name, _at_host(address), _place(source, file), size, problem)


def _differs(name: str, expected: str, found: str) -> DataError | None:
    if expected == found:
        return None
    advice = "nothing of it was kept; whoever serves it serves something else"
    return DataError(name, f"git's id {expected}", found, advice)


def _at_host(address: str) -> str:
    """The address at the host that a variable names, if it names one."""
    host = os.environ.get(RAW_HOST_VARIABLE)
    if not host:
        return address
    if not host.startswith(("http://", "https://")):
        expected = "the address of a mirror, as in http://127.0.0.1:8000"
        raise DataError(RAW_HOST_VARIABLE, expected, repr(host))
    parts = urllib.parse.urlsplit(address)
    return f"{host.rstrip('/')}{parts.path}"


# --- one file


def _get(asked: _Download, client: httpx2.Client, tell: OnBytes, stop: threading.Event) -> None:
    """Download one file, with as many attempts as it takes, and check it."""
    part = asked.place.with_name(asked.place.name + ".part")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(f"{asked.place}.lock"):
            if asked.place.exists():
                return
            _attempts(asked, part, client, tell, stop)
            if stop.is_set():
                return
            if problem := asked.problem(part):
                part.unlink()
                raise problem
            part.replace(asked.place)
    except OSError as error:
        advice = "the next attempt goes on where this one ended"
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            advice = f"free some space; {advice}"
        elif error.errno in {errno.EROFS, errno.EACCES, errno.EPERM}:
            advice = f"name a folder that can be written with {CORPORA_VARIABLE}"
        raise DataError(
            f"{asked.name}: cannot be kept in {part.parent}",
            found=first_line(error),
            advice=advice,
        ) from error


def _attempts(
    asked: _Download, part: Path, client: httpx2.Client, tell: OnBytes, stop: threading.Event
) -> None:
    failed = 0
    while not stop.is_set():
        before = part.stat().st_size if part.exists() else 0
        try:
            return _attempt(asked, part, client, tell, stop)
        except (_Passing, httpx2.TransportError) as error:
            came_on = part.exists() and part.stat().st_size > before
            failed = 0 if came_on else failed + 1
            if failed == _ATTEMPTS:
                host = urllib.parse.urlsplit(asked.address).netloc
                raise DataError(
                    f"{asked.name}: cannot be had from {host}",
                    found=f"{first_line(error)}, {_ATTEMPTS} times in a row",
                    advice="the next attempt goes on where this one ended",
                ) from error
            backing_off = 2.0 ** max(failed - 1, 0) * random.uniform(0.75, 1.25)
            stop.wait(min(max(backing_off, getattr(error, "wait", 0.0)), _LONGEST_WAIT))


def _attempt(
    asked: _Download, part: Path, client: httpx2.Client, tell: OnBytes, stop: threading.Event
) -> None:
    """Ask for what is missing of a file.

    Raises:
        _Passing, httpx2.TransportError: It broke off.
        DataError: The host has no such file.
    """
    start = part.stat().st_size if part.exists() else 0
    # Ranges are of the bytes that are sent: packed ones would be of another file.
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={start}-"} if start else {})}
    with client.stream("GET", asked.address, headers=headers) as answer:
        if answer.status_code == 416:  # all of it was there, or more than that
            if asked.problem(part) is not None:
                part.unlink()
                raise _Passing("what was there is longer than the file")
            return
        _check_answer(asked, answer)
        if not answer.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            start = 0  # the host sends all of it
        rest = int(answer.headers.get("Content-Length", 0))
        size = start + rest if rest else asked.size
        with part.open("r+b" if start else "wb") as opened:
            opened.seek(start)
            for chunk in answer.iter_raw():
                if stop.is_set():
                    return
                opened.write(chunk)
                start += len(chunk)
                tell(asked.name, start, size)
        if rest and start < size:
            raise _Passing(f"{start} of {size} bytes")


def _check_answer(asked: _Download, answer: httpx2.Response) -> None:
    status = f"HTTP status {answer.status_code}"
    if answer.status_code in {408, 425, 429} or answer.status_code >= 500:
        after = answer.headers.get("Retry-After", "")
        raise _Passing(status, float(after) if after.isdigit() else 0.0)
    if answer.status_code not in {200, 206}:
        raise DataError(
            asked.name,
            f"the file at {asked.address}",
            status,
            "its repository may have moved: name a folder with --data",
        )
