"""Git's own ids of files and folders, by which a download is known to be what was pinned.

The format is git's: https://git-scm.com/book/en/v2/Git-Internals-Git-Objects.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

_CHUNK = 2**20


@dataclass
class _Tree:
    files: dict[str, tuple[bytes, bytes]] = field(default_factory=dict)  # name -> mode, id
    folders: dict[str, _Tree] = field(default_factory=dict)

    def id(self) -> bytes:
        entries = [(name.encode(), mode, name, blob) for name, (mode, blob) in self.files.items()]
        # Git sorts a folder as if its name ended in a slash.
        entries += [
            (name.encode() + b"/", b"40000", name, folder.id())
            for name, folder in self.folders.items()
        ]
        body = b"".join(
            mode + b" " + name.encode() + b"\0" + x for _, mode, name, x in sorted(entries)
        )
        return _id(b"tree", body)


def blob_id(file: Path) -> str:
    """The id that git gives a file, 40 hex digits."""
    digest = hashlib.sha1(b"blob %d\0" % file.stat().st_size, usedforsecurity=False)
    with file.open("rb") as opened:
        while chunk := opened.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def archived_folder(archive: Path, folder: str) -> tuple[str, Mapping[str, bytes]]:
    """A folder out of an archive of a repository as GitHub makes it.

    Args:
        archive: A .tar.gz with one folder on top, which the name of the commit is a part of.
        folder: Path in the repository, with a slash at its end.

    Returns:
        The id that git gives the folder, and the content of its files by their paths in it.

    Raises:
        tarfile.TarError, OSError, EOFError: It is broken.
    """
    tree = _Tree()
    contents: dict[str, bytes] = {}
    with tarfile.open(archive, "r:gz") as opened:
        for member in opened:
            _, _, path = member.name.partition("/")
            if not path.startswith(folder) or member.isdir():
                continue
            name = path.removeprefix(folder)
            if member.issym():
                mode, content = b"120000", member.linkname.encode()
            else:
                mode = b"100755" if member.mode & 0o100 else b"100644"
                file = opened.extractfile(member)
                content = file.read() if file else b""
                contents[name] = content
            *parents, last = name.split("/")
            at = tree
            for parent in parents:
                at = at.folders.setdefault(parent, _Tree())
            at.files[last] = (mode, _id(b"blob", content))
    return tree.id().hex(), contents


def _id(kind: bytes, body: bytes) -> bytes:
    return hashlib.sha1(kind + b" %d\0" % len(body) + body, usedforsecurity=False).digest()
