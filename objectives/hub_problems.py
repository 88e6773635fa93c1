"""Why the Hugging Face hub does not give a repository, in the words of one line.

What a library says of it is often several lines long, or that a file is not in the cache: so the
Hub itself is asked once more, whose answer has a type (`huggingface_hub.errors`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import httpx2
import huggingface_hub
from huggingface_hub.errors import (
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from spaces.errors import first_line


@dataclass(frozen=True)
class HubRepository:
    """A repository of the Hub.

    Attributes:
        kind: dataset or model.
        name: OWNER/NAME.
        revision: Git revision that is read; empty for the main branch.
    """

    kind: str
    name: str
    revision: str = ""

    @property
    def page(self) -> str:
        """Address of its page."""
        folder = "datasets/" if self.kind == "dataset" else ""
        return f"{huggingface_hub.constants.ENDPOINT}/{folder}{self.name}"


@dataclass(frozen=True)
class HubProblem:
    """Why a repository cannot be had.

    Attributes:
        found: What the Hub says.
        advice: The user's next step; empty where none is known.
    """

    found: str
    advice: str = ""


_SCRIPT = HubProblem(
    "a loading script, which is code, in place of tables",
    "the converted branch has tables where the Hub made them (hub.revision = "
    "'refs/convert/parquet'); else name a folder with --data",
)


def is_script(error: BaseException) -> bool:
    """Whether datasets refuses a repository because it holds code in place of tables."""
    return isinstance(error, RuntimeError) and "Dataset scripts are no longer" in str(error)


def hub_problem_with(repository: HubRepository, error: Exception) -> HubProblem:
    """Why a repository could not be read.

    Args:
        repository: The repository.
        error: What a library raised when it was read.
    """
    if is_script(error):
        return _SCRIPT
    if problem := _typed(repository, error):
        return problem
    # datasets has a file that is not there for many reasons, and looks into its cache then.
    if isinstance(error, OSError) or "Couldn't find cache for" in str(error):
        try:
            files = _ask(repository)
        except (httpx2.HTTPError, OSError, HFValidationError) as answer:
            return _typed(repository, answer) or HubProblem(first_line(error))
        if f"{repository.name.rpartition('/')[2]}.py" in files:
            return _SCRIPT
    # What went wrong in the making of a table is the cause of what is raised.
    return HubProblem(first_line(error.__cause__ or error))


def _ask(repository: HubRepository) -> list[str]:
    """Ask for access, then for the files of the revision."""
    api = huggingface_hub.HfApi()
    api.auth_check(repository.name, repo_type=repository.kind)
    return api.list_repo_files(
        repository.name, repo_type=repository.kind, revision=repository.revision or None
    )


def _typed(repository: HubRepository, error: BaseException) -> HubProblem | None:
    """The problem that an error or one of its causes stands for; None where none has a type."""
    for cause in _causes(error):
        if isinstance(cause, OfflineModeIsEnabled):
            return HubProblem(
                "the Hub is switched off (HF_HUB_OFFLINE), and its cache lacks this",
                "run once without HF_HUB_OFFLINE",
            )
        if isinstance(cause, HfHubHTTPError):
            return _answered(repository, cause)
        if isinstance(cause, httpx2.HTTPError):
            return HubProblem(
                f"the Hub does not answer ({type(cause).__name__})",
                "look at the network and its proxy (HTTPS_PROXY)",
            )
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in seen:
        seen.append(current)
        yield current
        current = current.__cause__ or current.__context__


def _answered(repository: HubRepository, error: HfHubHTTPError) -> HubProblem:
    """What an answer of the Hub that is an error means."""
    status = error.response.status_code
    if isinstance(error, GatedRepoError):
        return HubProblem(
            "gated: its owners ask who wants it",
            f"ask for access at {repository.page}, then `hf auth login`",
        )
    if isinstance(error, RepositoryNotFoundError):
        return HubProblem(
            "no such repository: moved, taken down or private",
            f"look at {repository.page}; `hf auth login` if it is a private one of yours",
        )
    if isinstance(error, RevisionNotFoundError):
        return HubProblem(
            f"no revision {repository.revision or 'main'}: rewritten or taken down",
            f"look at {repository.page}/commits/main",
        )
    if isinstance(error, DisabledRepoError):
        return HubProblem("access to it is disabled", f"look at {repository.page}")
    if status == 401:
        return HubProblem("your token is not accepted (401)", "`hf auth login`, or unset HF_TOKEN")
    if status == 429:
        wait = error.response.headers.get("Retry-After", "")
        return HubProblem(
            "too many requests from here for now (429)",
            f"again in {wait} seconds" if wait.isdecimal() else "again in five minutes",
        )
    if status >= 500:
        return HubProblem(f"the Hub has a fault ({status})", "again later")
    return HubProblem(f"answer {status} ({first_line(error)})")
