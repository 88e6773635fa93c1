"""The catalogue of tasks: the corpus of each, where its data lies, and the page of each fact.

`tasks/*.toml` holds one table per task, in a file per kind, and those of the pocket corpora. They
are read strictly: an unknown or missing field, a wrong type or a name used twice is an error that
names the record and the field. In every file:

- `labels` are those of the local files, over all splits and languages; `hub.labels` maps the
  hub's names to them (integer labels by their digits). `hub.columns` and `hub.splits` are
  ours -> theirs; a split may be a slice of theirs.
- `files` are tried in turn below the data folder, with {split} = train, dev or test. A template
  does not apply to a language that one of its codes lacks; nor does a hub configuration. What
  is said of local files holds for the cut-down copies that this file was checked against. Names
  as in `panx/{split}-{iso2}.tsv` are those of XTREME's download script, which hides what it
  evaluates on.
- `licence` is what the page at `urls.licence` states; "upstream" is the licence of the original
  as generally published, which that page does not restate.
- `spaces/task_rules.py` has the rules that a record must keep.
- A corpus is got from the `hub`, or else from `raw` files of a public repository at one commit,
  which are known by git's own ids. No `hub` means that no copy which loads without a script could
  be verified, or that the raw files are surer: pinned, and read and compared. No `hub.revision`
  means that no full commit hash could be verified. Unverified fields have a comment that says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from spaces.errors import Problems, SpecError, unknown_name
from spaces.records import in_record, parse, read_toml
from spaces.task import Domain, Role, Task, TaskKind
from spaces.task_rules import check_fields, check_places, check_source

TASKS_FOLDER = Path(__file__).with_name("tasks")


@dataclass(frozen=True)
class Catalogue:
    """All known tasks, by name."""

    tasks: Mapping[str, Task]

    def __getitem__(self, name: str) -> Task:
        """The task of that name.

        Raises:
            UnknownNameError: There is none; the message names the nearest.
        """
        if name not in self.tasks:
            where = f"in the catalogue of {len(self.tasks)} tasks"
            raise unknown_name("Task", name, self.tasks, where)
        return self.tasks[name]

    def __iter__(self) -> Iterator[Task]:
        return iter(self.tasks.values())

    def grid(self) -> Mapping[tuple[TaskKind, Domain], tuple[str, ...]]:
        """The names of the real intermediate tasks by kind and domain.

        Every cell is there but those of retrieval, which nothing is trained on; it is empty
        where no corpus was found, so that domains cannot be compared like for like in that kind.
        """
        kinds = [kind for kind in TaskKind if kind.is_trained]
        cells: dict[tuple[TaskKind, Domain], list[str]] = {
            (kind, domain): [] for kind in kinds for domain in Domain
        }
        for task in self:
            if task.role is not Role.TARGET and task.kind.is_trained and not task.pocket:
                cells[task.kind, task.domain].append(task.name)
        return {cell: tuple(names) for cell, names in cells.items()}

    def training_task(self, task: Task) -> Task:
        """The task whose source-language splits train `task`: itself, or its `source_task`."""
        return self[task.source_task] if task.source_task else task

    def extended(self, records: Mapping[str, object], where: str) -> Catalogue:
        """This catalogue with the records of a study file added.

        Raises:
            SpecError: A record is wrong, or its name is taken.
        """
        added = read_tasks(records, where)
        if taken := sorted(added.keys() & self.tasks.keys()):
            subject = _named(taken[0], where)
            raise SpecError(subject, "a new name", "a task of the catalogue", "rename it")
        return _linked({**self.tasks, **added}, where)


@cache
def load_catalogue(folder: Path = TASKS_FOLDER) -> Catalogue:
    """Read all files of a catalogue, once in a process.

    Raises:
        SpecError: There is none, a file is no TOML, a record is wrong, or a name is used twice.
    """
    tasks: dict[str, Task] = {}
    files = sorted(folder.glob("*.toml"))
    if not files:
        raise SpecError(str(folder), "a folder with .toml files of tasks", "none")
    for path in files:
        added = read_tasks(read_toml(path), path.name)
        if taken := sorted(added.keys() & tasks.keys()):
            subject = _named(taken[0], path.name)
            raise SpecError(subject, "a new name", "a task of another file", "rename it")
        tasks |= added
    return _linked(tasks, folder.name)


def read_tasks(records: Mapping[str, object], where: str) -> dict[str, Task]:
    """Tasks from TOML tables.

    Raises:
        SpecError: A record is wrong; names the first wrong field.
    """
    tasks, problems = {}, Problems()
    for name, record in records.items():
        with problems.noted():
            tasks[name] = _read_task(name, record, where)
    problems.raise_all()
    return tasks


def _read_task(name: str, record: object, where: str) -> Task:
    subject = _named(name, where)
    if not isinstance(record, dict):
        raise SpecError(where, "only tables of tasks", f"the field {name!r}")
    if "name" in record:
        raise SpecError(f"{subject}, field 'name'", found="unknown", advice="the table names it")
    task = parse(Task, {"name": name, **record}, subject)
    try:
        check_fields(task)
        check_places(task)
    except SpecError as error:
        raise in_record(subject, error) from error
    return task


def _named(name: str, where: str) -> str:
    """A task as errors name it."""
    return f"task {name!r} ({where})"


def _linked(tasks: Mapping[str, Task], where: str) -> Catalogue:
    """Check the references between records.

    Raises:
        SpecError: A `source_task` that is unknown or does not fit.
    """
    catalogue = Catalogue(tasks)
    for task in catalogue:
        if task.source_task:
            try:
                check_source(task, tasks)
            except SpecError as error:
                raise in_record(_named(task.name, where), error) from error
    return catalogue
