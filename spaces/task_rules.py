"""The rules that a record of the catalogue keeps, each told in one line where it is broken.

`check_fields` says whether the fields of a record fit each other, `check_places` whether the
record leads to the right data, and `check_source` whether it fits the record that trains it.
Every record that is read keeps them, a shipped one as much as a user's own. Without them a wrong
record would be noticed after a training, or never: two languages that share a file have the same
score.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Collection, Hashable, Mapping

from spaces.errors import SpecError, nearest_name
from spaces.raw_source import DRAWN, RawSource
from spaces.task import FileTemplate, HubSource, Task

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_LANGUAGE = re.compile(r"[a-z]{3}")
_URL = re.compile(r"https?://[^\s/]+\.\S+")
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
_COMMIT = re.compile(r"[0-9a-f]{40}")
# A tag is the number of a release, as of Universal Dependencies.
_REVISION = re.compile(r"([0-9a-f]{40}|refs/convert/parquet|[0-9]+(\.[0-9]+)+)?")
_SPLITS = ("train", "validation", "test")
# What a file template may hold beside the names of the record's codes.
_FILE_PLACEHOLDERS = ("language", "split")


def check_fields(task: Task) -> None:
    """Check that the fields of a record fit its kind and each other.

    Raises:
        SpecError: The first wrong field, which is the subject.
    """
    kind = task.kind
    if not task.languages:
        raise SpecError("languages", "at least one ISO 639-3 code", "none")
    for language in task.languages:
        if not _LANGUAGE.fullmatch(language):
            raise SpecError("languages", "ISO 639-3 codes", repr(language))
    wants_labels = kind.is_tagging or kind.is_classification
    if wants_labels != bool(task.labels):
        expected = "at least one label" if wants_labels else "no labels"
        raise SpecError("labels", f"{expected} for kind {kind}", _listed(task.labels))
    _check_distinct("labels", task.labels)
    _check_distinct("languages", task.languages)
    if task.unscored_labels and not kind.is_classification:
        expected = f"no unscored labels for kind {kind}"
        raise SpecError("unscored_labels", expected, _listed(task.unscored_labels))
    _check_distinct("unscored_labels", (*task.labels, *task.unscored_labels))
    if (task.answers is None) == ("answers" in kind.columns):
        expected = "a normalisation" if task.answers is None else "none"
        raise SpecError("answers", f"{expected} for kind {kind}", str(task.answers or "none"))
    fits = task.metric in kind.metrics if kind.metrics else task.metric is None
    if not fits:
        metrics = " or ".join(kind.metrics) or "none"
        raise SpecError("metric", f"{metrics} for kind {kind}", str(task.metric or "none"))
    if not (task.hub or task.raw or task.files or task.pocket):
        raise SpecError("", "at least one of hub, raw, files and pocket", "none")
    if missing := sorted({"data", "licence"} - task.urls.keys()):
        raise SpecError("urls", "the pages 'data' and 'licence'", f"no {missing[0]!r}")


def check_places(task: Task) -> None:
    """Check that a record names its pages, and where its data lies.

    Raises:
        SpecError: The first wrong field, which is the subject.
    """
    _check_texts(task)
    _check_codes(task)
    layouts = task.layouts
    used: set[str] = set()
    placed: set[str] = set()
    for number, layout in enumerate(layouts):
        used |= _check_layout(task, layout, f"files.{number}")
        placed |= _check_files(task, layout, f"files.{number}")
    if task.hub:
        used |= _check_hub(task, task.hub)
        placed |= _check_hub_places(task, task.hub)
    if task.raw:
        placed |= _check_raw(task, task.raw)
    for name in task.codes:
        if name not in used:
            raise SpecError(
                f"codes.{name}", f"{{{name}}} in a template of files or hub", "none", "drop it"
            )
    if not task.pocket:
        _check_all_is_placed(task, layouts, placed)


def check_source(task: Task, tasks: Mapping[str, Task]) -> None:
    """Check that the task which trains another one can do so.

    Args:
        task: A task with a `source_task`.
        tasks: All tasks by name.

    Raises:
        SpecError: It is unknown, does not fit, or is not trained on itself.
    """
    field, name = "source_task", task.source_task
    source = tasks.get(name)
    if source is None:
        raise SpecError(field, "a task of the catalogue", repr(name), nearest_name(name, tasks))
    if source.kind is not task.kind or set(source.labels) != set(task.labels):
        raise SpecError(field, f"a task of kind {task.kind} with the same labels", repr(name))
    if source.source_task:
        found = f"{name!r}, which {source.source_task!r} trains"
        raise SpecError(field, "a task with a training split of its own", found)
    if source.role == "target":
        raise SpecError(field, "a task of role intermediate or both", f"{name!r} of role target")


def _check_texts(task: Task) -> None:
    if not _NAME.fullmatch(task.name):
        # It is a part of Optuna parameters, of paths and of command lines.
        raise SpecError("", "a name in lower case of a-z, 0-9 and _", repr(task.name), "rename it")
    texts = [("title", task.title), ("licence", task.licence)]
    texts += [("labels", label) for label in task.labels]
    texts += [("unscored_labels", label) for label in task.unscored_labels]
    for field, text in texts:
        if not text or text != text.strip():
            raise SpecError(field, "text without spaces around it", repr(text))
    for fact, url in task.urls.items():
        if not _URL.fullmatch(url):
            raise SpecError(f"urls.{fact}", "a URL as in https://example.org/page", repr(url))


def _check_codes(task: Task) -> None:
    for name, table in task.codes.items():
        if name in {*_FILE_PLACEHOLDERS, "side"}:
            found = f"the placeholder {{{name}}}"
            raise SpecError(f"codes.{name}", "a name of its own", found, "rename it")
        if unknown := sorted(table.keys() - set(task.languages)):
            raise SpecError(
                f"codes.{name}",
                f"codes of the task's languages ({', '.join(task.languages)})",
                repr(unknown[0]),
                "add it to languages or drop it",
            )


def _check_layout(task: Task, layout: FileTemplate, field: str) -> set[str]:
    """The placeholders of a right layout."""
    retrieves = "side" in task.kind.columns
    known = (*_FILE_PLACEHOLDERS, *task.codes)
    names = _check_template(field, layout.path, (*known, *(["side"] if retrieves else [])))
    for template in (layout.pairs, *layout.sides):
        names |= _check_template(field, template, known)
    if retrieves and "{side}" not in layout.path:
        raise SpecError(field, "{side} in the path for kind retrieval", repr(layout.path))
    if len(layout.sides) not in ({0, 2} if retrieves else {0}):
        expected = "none or two" if retrieves else f"none for kind {task.kind}"
        raise SpecError(f"{field}.sides", expected, _listed(layout.sides))
    if layout.pairs and not retrieves:
        raise SpecError(f"{field}.pairs", f"none for kind {task.kind}", repr(layout.pairs))
    lacking = [name for name in task.kind.columns if name not in layout.columns]
    if layout.columns and lacking:
        expected = f"the columns {', '.join(task.kind.columns)}"
        raise SpecError(f"{field}.columns", expected, f"no {lacking[0]!r}")
    _check_labels(f"{field}.labels", layout.labels, task)
    return names


def _check_files(task: Task, layout: FileTemplate, field: str) -> set[str]:
    """The languages of a layout whose files lie below the data folder, one language in each."""
    seen: dict[Hashable, str] = {}
    for language in task.languages:
        names = task.file_names(layout, language, "train")
        pairs = task.fill(layout.pairs, language, "train")
        for name in (*names, *([pairs] if pairs else [])):
            if name.startswith("/") or ".." in name.split("/"):
                raise SpecError(
                    field,
                    "a path below the data folder",
                    repr(name),
                    "name the folder with --data",
                )
        # The second file of a retrieval corpus is English, which languages may share.
        for name in names[:1]:
            _check_shared(field, "file", seen, name, language)
    return set(seen.values())


def _check_hub(task: Task, hub: HubSource) -> set[str]:
    """The placeholders of a right source."""
    names = set()
    for template in hub.templates:
        names |= _check_template("hub", template, ("language", *task.codes))
    if bool(hub.filter_column) is not bool(hub.filter_value):
        has, lacks = "filter_column", "filter_value"
        if hub.filter_value:
            has, lacks = lacks, has
        raise SpecError(f"hub.{lacks}", f"a value beside {has}", "none")
    # A row of the Hub's retrieval corpora is a pair of sentences.
    columns = ("text_a", "text_b") if "side" in task.kind.columns else task.kind.columns
    _check_known("hub.columns", hub.columns, columns)
    _check_known("hub.splits", hub.splits, _SPLITS)
    _check_labels("hub.labels", hub.labels, task)
    _check_hub_splits(task, hub)
    return names


def _check_hub_places(task: Task, hub: HubSource) -> set[str]:
    """The languages of a source that has each at a place of its own."""
    seen: dict[Hashable, str] = {}
    for language in task.languages:
        filled = [task.fill(template, language) for template in hub.templates]
        place = tuple(x for x in filled if x is not None)
        if len(place) < len(filled):
            continue
        repository, _, revision, *_ = place
        if not _REPOSITORY.fullmatch(repository):
            raise SpecError("hub.repository", "OWNER/NAME", repr(repository))
        if not _REVISION.fullmatch(revision):
            raise SpecError(
                "hub.revision",
                "a full commit hash, a release, refs/convert/parquet, or none",
                repr(revision),
            )
        _check_shared("hub", "configuration or filter", seen, place, language)
    return set(seen.values())


def _check_raw(task: Task, raw: RawSource) -> set[str]:
    """The languages of raw files that are pinned, each file in one split of one language."""
    if not _REPOSITORY.fullmatch(raw.repository):
        raise SpecError("raw.repository", "OWNER/NAME", repr(raw.repository))
    if not _COMMIT.fullmatch(raw.commit):
        raise SpecError("raw.commit", "a full commit hash", repr(raw.commit))
    for field in ("address", "archive"):
        if not _URL.fullmatch(getattr(raw, field)):
            found = repr(getattr(raw, field))
            raise SpecError(f"raw.{field}", "a URL as in https://example.org/page", found)
    _check_template("raw.address", raw.address, ("repository", "commit", "path"))
    _check_template("raw.archive", raw.archive, ("repository", "commit"))
    _check_labels("raw.labels", raw.labels, task)
    if not raw.files:
        raise SpecError("raw.files", "at least one file", "none")
    for number, file in enumerate(raw.files):
        field = f"raw.files.{number}"
        if file.path.startswith("/") or ".." in file.path.split("/"):
            raise SpecError(f"{field}.path", "a path in the repository", repr(file.path))
        if not _COMMIT.fullmatch(file.blob):
            raise SpecError(
                f"{field}.blob", "git's id of the file, 40 hex digits", repr(file.blob)
            )
        if file.split not in (*_SPLITS, DRAWN):
            splits = f"one of {', '.join(_SPLITS)} and {DRAWN}"
            raise SpecError(f"{field}.split", splits, repr(file.split))
        if file.language not in task.languages:
            languages = f"a language of the task ({', '.join(task.languages)})"
            raise SpecError(f"{field}.language", languages, repr(file.language))
    return set(raw.languages)


def _check_hub_splits(task: Task, hub: HubSource) -> None:
    """No example is both trained on and scored on, or both selected on and confirmed on."""
    train, validation, test = (hub.splits.get(split, split) for split in _SPLITS)
    if task.halved:
        # Both halves are drawn from one split.
        named = [hub.splits[split] for split in _SPLITS[1:] if split in hub.splits]
        if len(set(named)) > 1:
            raise SpecError(
                "hub.splits",
                "one split for validation and test, as halved = true",
                " and ".join(map(repr, named)),
            )
        validation = test = named[0] if named else "validation"
    elif validation == test:
        raise SpecError(
            "hub.splits",
            "different splits for validation and test",
            f"{test!r} for both",
            "name slices of it, or set halved = true",
        )
    for split, theirs in (("validation", validation), ("test", test)):
        if theirs == train:
            raise SpecError(
                "hub.splits", f"different splits for train and {split}", f"{train!r} for both"
            )


def _check_all_is_placed(
    task: Task, layouts: Collection[FileTemplate], placed: Collection[str]
) -> None:
    for language in task.languages:
        if language not in placed:
            raise SpecError(
                "languages",
                "files or a Hub configuration for each",
                f"none for {language!r}",
                "add its code to codes or drop it",
            )
    scored = task.role != "intermediate" and task.metric is not None
    if scored and not task.halved and not task.hub and not task.raw:
        # One without `{split}` is read for training only.
        paths = [layout.path for layout in layouts]
        if not any("{split}" in path for path in paths):
            raise SpecError(
                "files",
                f"{{split}} in a path, as role {task.role} is scored on dev and test",
                _listed(paths),
                "if all is one split, set halved = true",
            )


def _check_template(field: str, template: str, known: Collection[str]) -> set[str]:
    """The placeholders of a right template."""
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        found = f"{template!r} ({error})"
        raise SpecError(field, "a template with names in braces", found) from error
    names = set()
    for _, name, form, conversion in parts:
        if name is None:  # text after the last one
            continue
        if name not in known or form or conversion:
            allowed = ", ".join(f"{{{x}}}" for x in known)
            found = f"{{{name}}} in {template!r}"
            raise SpecError(field, f"no placeholders but {allowed}", found)
        names.add(name)
    return names


def _check_shared(
    field: str, what: str, seen: dict[Hashable, str], place: Hashable, language: str
) -> None:
    if (other := seen.setdefault(place, language)) != language:
        raise SpecError(
            field,
            f"a {what} of its own for each language",
            f"the same for {other} and {language}",
            "put {language} or a name of codes into it",
        )


def _check_labels(field: str, renamed: dict[str, str], task: Task) -> None:
    known = (*task.tags, *task.unscored_labels)
    for label in renamed.values():
        if label not in known:
            advice = nearest_name(label, known)
            raise SpecError(field, "labels of the task", repr(label), advice)


def _check_known(field: str, names: Collection[str], known: Collection[str]) -> None:
    for name in names:
        if name not in known:
            expected = f"some of {', '.join(known)} before the equals signs"
            raise SpecError(field, expected, repr(name), nearest_name(name, known))


def _check_distinct(field: str, values: Collection[str]) -> None:
    if len({unicodedata.normalize("NFC", x) for x in values}) != len(values):
        raise SpecError(field, "each once", _listed(values))


def _listed(values: Collection[str]) -> str:
    return str(list(values)) if values else "none"
