"""Raw files as they are turned into corpora: what comes out, in which time and memory.

Copies of the repositories are served on this machine as their host would, and each corpus is
fetched from there. A file that a copy lacks (stored snapshots often lack large ones) is made up in
its format, with invented words, at the size below; its record then asks for the made-up file's id.
What comes out is compared with a data folder: how many of its examples are in it, with the same
labels. Time and memory are those of reading and writing alone.

    python -m tests.benchmarks.conversions --copies DIR [--data DIR] [--megabytes 16] [--only TASK]

A copy is a git repository below DIR, in OWNER+NAME, OWNER+NAME/repo or OWNER+NAME/repo/.git.
"""

from __future__ import annotations

import argparse
import bisect
import ctypes
import gc
import io
import json
import os
import random
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from objectives.data.data_source import CORPORA_VARIABLE
from objectives.data.downloads import RAW_HOST_VARIABLE, download_raw
from objectives.data.fetching import fetch_corpus, raw_files_of
from objectives.data.file_formats import Columns
from objectives.data.files import find_split, read_files
from spaces.catalogue import load_catalogue
from spaces.errors import DataError
from spaces.raw_source import RawFile, RawFormat, RawSource
from spaces.task import Task, TaskKind
from tests.benchmarks.as_command import run_as_command
from tests.raw_host import RawHost, blob, raw_host

SPLITS = ("train", "validation", "test")
_WORDS = [
    f"{a}{b}{c}" for a in ("ka", "lo", "mi", "nu") for b in ("ra", "se", "ti") for c in "nsy"
]


# --- made-up files, in the format of the real ones


def _sentences(drawn: random.Random, size: int, of_word: Callable[[int, str], str]) -> str:
    made = io.StringIO()
    number = 0
    while made.tell() < size:
        number += 1
        made.write(f"# sent_id = GUM_{drawn.choice(['court', 'news'])}_{number}\n")
        for place, word in enumerate(drawn.choices(_WORDS, k=drawn.randrange(3, 40)), 1):
            made.write(of_word(place, word) + "\n")
        made.write("\n")
    return made.getvalue()


def _tagged(task: Task, source: RawSource, size: int) -> str:
    drawn = random.Random(0)
    tag_at, token_at = int(source.columns.get("tags", 3)), int(source.columns["tokens"])
    tags = [tag for tag in task.tags if not tag.startswith("I-")] or ["NN"]

    def of_word(place: int, word: str) -> str:
        fields = [word, *"_________"]
        if token_at:
            fields = [str(place), *fields[:-1]]
        fields[tag_at] = drawn.choice(tags)
        return "\t".join(fields)

    made = _sentences(drawn, size, of_word)
    return made if token_at else made.replace("# sent_id = ", "-DOCSTART- ")


def _spans(task: Task, source: RawSource, size: int) -> str:
    drawn = random.Random(0)
    labels = task.labels or ("COURT",)
    # Preambles are of some 300 words and 10 names, sentences of judgments of 35 and one.
    longest, names = (600, 20) if "PREAMBLE" in source.files[0].path else (70, 3)
    examples: list[dict[str, object]] = []
    made = 0
    while made < size:
        text, result = "", []
        for place, word in enumerate(drawn.choices(_WORDS, k=drawn.randrange(3, longest))):
            if place % (longest // names) == 1:
                value = {"start": len(text), "end": len(text) + len(word), "text": word}
                result.append({"value": {**value, "labels": [drawn.choice(labels)]}})
            text += word + (", " if place % 7 == 6 else " ")
        examples.append({"data": {"text": text}, "annotations": [{"result": result}], "meta": {}})
        made += len(json.dumps(examples[-1], indent=4))
    return json.dumps(examples, indent=4)


def _table(task: Task, source: RawSource, size: int) -> str:
    drawn = random.Random(0)
    made = ["id,evidence,claim,label,topic_ip,question"]
    total = 0
    while total < size:
        evidence, claim = (" ".join(drawn.choices(_WORDS, k=k)) for k in (90, 15))
        made.append(
            f'{len(made)},"{evidence}, ""so"".",{claim},{drawn.choice(task.labels)},1,{claim}'
        )
        total += len(made[-1])
    return "\n".join(made)


def _contracts(task: Task, source: RawSource, size: int) -> str:
    drawn = random.Random(0)
    documents: list[dict[str, str]] = []
    while sum(len(x["text"]) for x in documents) < size:
        lines = [" ".join(drawn.choices(_WORDS, k=60)) for _ in range(40)]
        documents.append({"text": "\n\n".join(lines)})
    return json.dumps({"documents": documents, "labels": {}})


_MADE_UP: dict[RawFormat, Callable[[Task, RawSource, int], str]] = {
    RawFormat.TAGGED: _tagged,
    RawFormat.SPANS: _spans,
    RawFormat.TABLE: _table,
    RawFormat.CONTRACTS: _contracts,
}


# --- copies


def _git(copies: Path, source: RawSource) -> list[str]:
    place = copies / source.repository.replace("/", "+")
    folders = (place / "repo" / ".git", place / "repo", place)
    folder = next((x for x in folders if (x / "HEAD").is_file()), place)
    return ["git", f"--git-dir={folder}"]


def _served(task: Task, source: RawSource, copies: Path, size: int, host: RawHost) -> RawSource:
    """Put a source's files on the host; the record that asks for them, made-up ones too."""
    git, files = _git(copies, source), list[RawFile]()
    folders = [file.path.rstrip("/") for file in source.files if file.is_folder]
    if folders:
        archive = ["archive", "--format=tar.gz", "--prefix=copy/", source.commit, *folders]
        packed = subprocess.run([*git, *archive], capture_output=True, check=True)
        host.files[f"/{source.repository}/tar.gz/{source.commit}"] = packed.stdout
    for file in source.files:
        if not file.is_folder:
            read = subprocess.run(
                [*git, "cat-file", "blob", file.blob], capture_output=True, check=False
            )
            content = read.stdout
            if read.returncode:
                content = _MADE_UP[source.format](task, source, size).encode()
            host.files[f"/{source.repository}/{source.commit}/{file.path}"] = content
            file = file.model_copy(update={"blob": blob(content), "size": len(content)})
        files.append(file)
    return source.model_copy(update={"files": tuple(files)})


# --- what comes out


def _texts(columns: Columns, kind: TaskKind) -> Iterator[str]:
    """Each example as its label, or its entities, and its text, without white space.

    However its words are told apart: two ways to do that give equal texts.
    """
    if kind.is_tagging:
        for words, tags in zip(columns["tokens"], columns["tags"], strict=True):
            said = _entities(words, tags) if kind is TaskKind.NER else list(tags)
            yield f"{said}|{_bare(''.join(words))}"
        return
    *names, last = (name for name in kind.columns if name not in {"id", "match"})
    for row in zip(columns[last], *(columns[name] for name in names), strict=True):
        yield _bare("|".join(map(str, row)))


def _entities(words: list[str], tags: list[str]) -> list[str]:
    found = list[str]()
    for word, tag in zip(words, tags, strict=True):
        if tag.startswith("B-"):
            found.append(f"{tag[2:]}:")
        if tag != "O":
            found[-1] += _bare(word)
    return found


def _bare(text: str) -> str:
    """Without white space, characters that nobody sees, and the csv module's quotation marks."""
    seen = "".join(x for x in text if x.isprintable() and not x.isspace())
    return seen.replace('""""', '"')


def _read(task: Task, language: str, folder: Path) -> Counter[str]:
    found = Counter[str]()
    for split in SPLITS:
        try:
            files, _ = find_split(task, language, split, [folder])
            found |= Counter(_texts(read_files(files, task, hidden_allowed=True), task.kind))
        except DataError:
            continue
    return found


def _in(local: Counter[str], made: Counter[str]) -> int:
    """How many examples of a folder came out, whole or cut at the end as in the folder."""
    every = sorted(made)
    count = 0
    for text, times in local.items():
        at = bisect.bisect_left(every, text)
        count += times if at < len(every) and every[at].startswith(text) else 0
    return count


def _peak() -> int:
    """Most bytes of memory since `_memory` (Linux)."""
    status = Path("/proc/self/status").read_text()
    (line,) = [x for x in status.splitlines() if x.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def _memory() -> int:
    """Bytes of memory, once what is free was given back."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    return _peak()


def main() -> None:
    """Fetch every corpus of raw files and print the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--copies", type=Path, required=True, metavar="DIR")
    options.add_argument("--data", type=Path, metavar="DIR")
    options.add_argument("--megabytes", type=int, default=16, help="of a made-up file")
    options.add_argument("--only", action="append", default=[], metavar="TASK")
    given = options.parse_args()
    heading = "task,languages,MB,CPU s,CPU s/MB,peak/size,examples,of the folder,in it,made up"
    print(f"{heading}".replace(",", " | "))
    with raw_host() as host:
        os.environ[RAW_HOST_VARIABLE] = host.address
        for task in load_catalogue():
            if task.raw and (not given.only or task.name in given.only):
                host.files.clear()
                with tempfile.TemporaryDirectory() as scratch:
                    os.environ[CORPORA_VARIABLE] = scratch
                    print(_row(task, given, host, Path(scratch)), flush=True)


def _row(task: Task, given: argparse.Namespace, host: RawHost, scratch: Path) -> str:
    assert task.raw
    try:
        raw = _served(task, task.raw, given.copies, given.megabytes * 2**20, host)
    except subprocess.CalledProcessError as error:
        return f"{task.name}: no copy ({error.stderr.decode().strip()})"
    changed = [x.path for x, y in zip(task.raw.files, raw.files, strict=True) if x.blob != y.blob]
    task = task.model_copy(update={"hub": None, "raw": raw})
    languages = [x for x in raw.languages if x in task.languages]
    folder = scratch / "to"
    counts, seconds, peak, size = Counter[str](), 0.0, 0.0, 0
    for language in languages:
        download_raw(raw_files_of(task, language))
        before, start = _memory(), time.process_time()
        fetch_corpus(task, language, (), folder, wished=SPLITS)
        seconds += time.process_time() - start
        of = sum(x.size for x in raw.of_language(language))
        size += of
        peak = max(peak, (_peak() - before) / of if of else 0.0)
        made = _read(task, language, folder)
        local = _read(task, language, given.data) if given.data else Counter[str]()
        counts += Counter(made=made.total(), local=local.total(), both=_in(local, made))
    shown = [task.name, len(languages), f"{size / 1e6:.1f}", f"{seconds:.1f}"]
    shown += [f"{seconds / size * 1e6:.2f}" if size else "", f"{peak:.1f}"]
    return " | ".join(
        map(str, [*shown, counts["made"], counts["local"], counts["both"], " ".join(changed)])
    )


if __name__ == "__main__":
    run_as_command(main)
