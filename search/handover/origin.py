"""Whose predictions a folder holds: scoring a study's own counts as a look at its test splits."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from search.command_line.options import default_storage
from spaces.errors import TransferSearchError
from storage.ledger import Ledger
from storage.opening import open_storage
from storage.urls import redacted

FILE = "study.json"


@dataclass(frozen=True)
class PredictionsOrigin:
    """The study whose model made the predictions of a folder.

    Attributes:
        study: Name of the study in its storage.
        storage: URL of the storage without its password.
        what: Which model on which task, in words.
    """

    study: str
    storage: str
    what: str

    def write(self, folder: Path) -> None:
        """Lay it beside the predictions, under a name that no submission has."""
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(asdict(self), indent=2, ensure_ascii=False)
        (folder / FILE).write_text(f"{text}\n", encoding="utf-8")

    @classmethod
    def of_folder(cls, folder: Path) -> PredictionsOrigin | None:
        """That of a folder; None where it is not a study's."""
        try:
            found = cls(**json.loads((folder / FILE).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, RecursionError):
            return None
        return found if all(isinstance(x, str) for x in asdict(found).values()) else None

    def count_as_scored(self) -> str:
        """Keep in the study's storage that its predictions were scored.

        Returns:
            What hinders it, in words; empty where nothing does.
        """
        # A password is not kept with the predictions: who has one in the environment reaches it.
        own = default_storage()
        url = own if redacted(own) == self.storage else self.storage
        try:
            storage = open_storage(url, create=False)
        except TransferSearchError as error:
            return f"not counted as a look at the test splits of {self.study!r}: {error}"
        try:
            Ledger(storage.engine).record_test_read(self.study, "evaluate", self.what)
        finally:
            storage.close()
        return ""
