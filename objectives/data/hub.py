"""Corpora on the Hugging Face hub: whether it can be asked, and a split of it as our columns."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import huggingface_hub
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from objectives.hub_problems import HubRepository, hub_problem_with, is_script
from spaces.errors import DataError
from spaces.task import HubSource, Task, TaskKind, by_unicode_form

if TYPE_CHECKING:
    import datasets

# The Hub is asked once per run; a machine without a route to it should not wait long.
_TIMEOUT = 5.0

Columns = dict[str, list[Any]]

# datasets raises ValueError for an unknown config or split, RuntimeError for a script (and for its
# bugs), its own errors for tables that are broken, OSError kin for the rest.
_HUB_ERRORS = (httpx2.HTTPError, OSError, ValueError, RuntimeError)


@dataclass(frozen=True)
class HubPlace:
    """Where a task lies in one language: the templates of its `HubSource`, filled in."""

    hub: HubSource
    repository: str
    config: str
    revision: str
    filter_value: str
    folder: str


def hub_place(task: Task, language: str) -> HubPlace | None:
    """None where the catalogue knows no copy of the task in that language."""
    hub = task.hub
    if hub is None:
        return None
    filled = [value for x in hub.templates if (value := task.fill(x, language)) is not None]
    return HubPlace(hub, *filled) if len(filled) == len(hub.templates) else None


def hub_problem() -> str:
    """Why the Hub cannot be reached; empty if it answers, be it that it refuses (429, a token)."""
    try:
        huggingface_hub.HfApi().dataset_info("google/xtreme", timeout=_TIMEOUT)
    except OfflineModeIsEnabled:
        return "the Hub is switched off (HF_HUB_OFFLINE)"
    except HfHubHTTPError:
        return ""  # whoever reads a corpus says what it refuses
    except httpx2.HTTPError as error:
        return f"the Hub does not answer ({type(error).__name__})"
    return ""


def in_hub_cache(task: Task, language: str) -> bool:
    """Whether earlier runs left the corpus in the cache of datasets."""
    import datasets  # takes a second, which whoever uses no Hub does not need

    place = hub_place(task, language)
    if place is None:
        return False
    *owner, name = place.repository.split("/")
    folder = "___".join((*owner, datasets.naming.camelcase_to_snakecase(name)))
    cache = Path(datasets.config.HF_DATASETS_CACHE)
    return any((cache / folder / (place.config or "default")).glob("*/*/dataset_info.json"))


def resolved_revision(task: Task, language: str) -> str:
    """The commit that a corpus is at: the record's, or what its branch or tag is at now.

    Empty where the Hub cannot say, as with a cache and no network.
    """
    place = hub_place(task, language)
    if place is None or len(place.revision) == 40:
        return place.revision if place else ""
    try:
        api = huggingface_hub.HfApi()
        revision = place.revision or None
        return api.dataset_info(place.repository, revision=revision, timeout=_TIMEOUT).sha or ""
    except (httpx2.HTTPError, HfHubHTTPError, OSError, ValueError):
        return ""  # whoever reads the corpus next says what is wrong


def read_hub(task: Task, language: str, split: str, revision: str = "") -> tuple[Columns, str]:
    """The columns of `task.kind`, and what to call the place in a message.

    A halved task has one evaluation split, which is read for either half of it:
    `hub.splits.test`, or else `hub.splits.validation`, or else "validation".

    Args:
        task: Catalogue record of the task.
        language: ISO 639-3 code.
        split: Name of the split: train, validation or test.
        revision: Commit to read; empty: the record's revision.

    Raises:
        DataError: The Hub has no such split, does not answer, or has other columns.
    """
    place = hub_place(task, language)
    if place is None:
        raise DataError(
            f"task {task.name!r}",
            f"the {language} {split} split on the Hub in the catalogue",
            "none",
            "name a folder with --data",
        )
    hub = place.hub
    theirs = hub.splits.get(split, split)
    if task.halved and split != "train":
        theirs = hub.splits.get("test", hub.splits.get("validation", "validation"))
    named = (place.repository, place.config, place.folder, theirs)
    where = f"Hugging Face hub, {' '.join(filter(None, named))}"
    import datasets  # takes a second, as above

    datasets.disable_progress_bars()  # of tables that it makes; those of downloads stay
    try:
        rows = datasets.load_dataset(
            place.repository,
            place.config or None,
            data_dir=place.folder or None,
            split=theirs,
            revision=revision or place.revision or None,
        )
    except (*_HUB_ERRORS, datasets.exceptions.DatasetsError) as error:
        if isinstance(error, RuntimeError) and not is_script(error):
            raise
        repository = HubRepository("dataset", place.repository, place.revision)
        problem = hub_problem_with(repository, error)
        subject = f"task {task.name!r}: {where}: cannot be read"
        raise DataError(subject, found=problem.found, advice=problem.advice) from error
    _check_commit(rows, revision or place.revision, where)
    if hub.filter_column:
        rows = _of_language(rows, place, where)
    if task.kind is TaskKind.RETRIEVAL:
        pairs = [_texts(_column(rows, hub, name, where), where) for name in ("text_a", "text_b")]
        return _sentences(*pairs), where
    if hub.choices:
        return _pairs_of_choices(
            *(_column(rows, hub, name, where) for name in task.kind.columns)
        ), where
    columns: Columns = {}
    for name in task.kind.columns:
        values = _column(rows, hub, name, where)
        if name == "answers":
            columns[name] = _answers(values, hidden_allowed=split == "test" or task.halved)
        elif name == "score":
            columns[name] = _scores(values)
        elif name in {"label", "tags"}:
            known = by_unicode_form({x: x for x in (*task.tags, *task.unscored_labels)})
            feature = rows.features[hub.columns.get(name, name)]
            columns[name] = _named(values, feature, hub.labels, known)
        elif name == "tokens":
            columns[name] = values
        elif name == "id":
            columns[name] = [str(value) for value in values]
        elif task.kind is TaskKind.MLM:
            # Corpora of articles have an empty row between their paragraphs.
            columns[name] = [text for value in values if (text := (value or "").strip())]
        else:
            columns[name] = _texts(values, where)
    return columns, where


def _check_commit(rows: datasets.Dataset, commit: str, where: str) -> None:
    """Check that the rows are of the commit that was asked for.

    Where the Hub is not to be had, datasets takes whatever commit of the repository its cache has.
    The folder of a table in that cache is called by its commit.
    """
    if len(commit) != 40:
        return
    for file in rows.cache_files:
        if (cached := Path(file["filename"]).parent.name) != commit:
            raise DataError(
                f"{where}: the Hub is not to be had",
                f"its cache to have commit {commit[:12]}",
                f"{cached[:12]}",
                "run once where there is a network",
            )


def _column(rows: datasets.Dataset, hub: HubSource, ours: str, where: str) -> list[Any]:
    name = hub.columns.get(ours, ours)
    if name not in rows.column_names:
        raise DataError(where, f"the column {name!r}", ", ".join(rows.column_names))
    values: list[Any] = rows[name][:]
    return values


def _of_language(rows: datasets.Dataset, place: HubPlace, where: str) -> datasets.Dataset:
    """The rows whose `filter_column` says that they are of the language."""
    value = place.filter_value
    if place.hub.filter_column not in rows.column_names:
        raise DataError(
            where, f"the column {place.hub.filter_column!r}", ", ".join(rows.column_names)
        )
    values = rows[place.hub.filter_column][:]
    names = getattr(rows.features[place.hub.filter_column], "names", None)
    said = [names[x] if names and isinstance(x, int) else str(x) for x in values]
    prefix = value.removesuffix("*") if value.endswith("*") else None
    kept = [
        i for i, x in enumerate(said) if (x == value if prefix is None else x.startswith(prefix))
    ]
    if not kept:
        raise DataError(where, f"rows whose {place.hub.filter_column} is {value!r}", "none")
    return rows.select(kept)


def _texts(values: list[Any], where: str) -> list[str]:
    for number, value in enumerate(values):
        if not isinstance(value, str):
            raise DataError(f"{where}: example {number}", "a text", f"{value!r}")
    return values


def _sentences(language: list[str], english: list[str]) -> Columns:
    """Rows of sentence pairs as one row per sentence; the number of the pair is the id."""
    ids = [str(number) for number in range(len(language))]
    return {
        "id": ids + ids,
        "text": language + english,
        "side": ["language"] * len(ids) + ["english"] * len(ids),
        "match": ids + [""] * len(ids),
    }


def _pairs_of_choices(texts: list[Any], choices: list[Any], right: list[Any]) -> Columns:
    """Each text with its right choice, then with a wrong one, drawn by the SHA-256 of the text."""
    columns: Columns = {"text_a": [], "text_b": [], "label": []}
    for text, endings, number in zip(texts, choices, right, strict=True):
        wrong = [x for i, x in enumerate(endings) if i != int(number)]
        drawn = wrong[int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) % len(wrong)]
        columns["text_a"] += [text, text]
        columns["text_b"] += [endings[int(number)], drawn]
        columns["label"] += ["1", "0"]
    return columns


def _answers(values: list[Any], *, hidden_allowed: bool) -> list[list[dict[str, Any]] | None]:
    """`{text: [...], answer_start: [...]}` as a list of `{text, start}`.

    A question without an answer is unanswerable. Where no question of a test split has one,
    they are hidden.
    """
    converted: list[list[dict[str, Any]] | None] = []
    for value in values:
        if isinstance(value, dict):
            pairs = zip(value["text"], value["answer_start"], strict=True)
            converted.append([{"text": text, "start": start} for text, start in pairs])
        else:
            converted.append(
                [{"text": x["text"], "start": x["answer_start"]} for x in value or []]
            )
    if hidden_allowed and not any(x["text"] for answers in converted for x in answers or []):
        return [None] * len(converted)
    return converted


def _scores(values: list[Any]) -> list[Any]:
    """The scores; None if hidden, which GLUE's test splits show by -1 in every row."""
    return [None] * len(values) if set(values) == {-1} else values


def _named(
    values: list[Any], feature: object, rename: dict[str, str], known: Mapping[str, str]
) -> list[Any]:
    """Labels as the catalogue has them; None where the Hub hides them (-1, or no name).

    Class numbers get their names; plain numbers are looked up in the catalogue by their digits.
    """
    names = getattr(feature, "names", None) or getattr(
        getattr(feature, "feature", None), "names", None
    )

    def name(value: object) -> object:
        if isinstance(value, list):
            named = [name(item) for item in value]
            return None if named and all(item is None for item in named) else named
        if isinstance(value, int):
            if value == -1:
                return None
            value = names[value] if names is not None else str(value)
        if not isinstance(value, str):
            return value
        return rename.get(value) or known.get(unicodedata.normalize("NFC", value), value)

    return [name(value) for value in values]
