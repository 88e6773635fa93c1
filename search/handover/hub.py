"""A folder published on the Hugging Face Hub, and what the Hub refuses in one line."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import huggingface_hub

from spaces.errors import TransferSearchError


def check_login() -> None:
    """Ask the Hub who pushes, before a training that may take long.

    Raises:
        TransferSearchError: The Hub knows nobody, or does not answer.
    """
    with _hub() as hub:
        hub.whoami()


def push(folder: Path, repository: str) -> str:
    """Put a folder on the Hub; a repository that is not there yet is made, private.

    Returns:
        The repository's address.

    Raises:
        TransferSearchError: The Hub does not take it.
    """
    try:
        with _hub() as hub:
            # exist_ok: a model that was published before gets another commit.
            made = hub.create_repo(repository, private=True, exist_ok=True)
            hub.upload_folder(
                repo_id=made.repo_id, folder_path=folder, commit_message="Exported model"
            )
    except TransferSearchError as error:
        command = shlex.join(["hf", "upload", repository, str(folder)])
        raise TransferSearchError(
            error.subject,
            error.expected,
            error.found,
            f"{folder} is complete, `{command}` uploads it",
        ) from error
    return str(made)


@contextmanager
def _hub() -> Iterator[huggingface_hub.HfApi]:
    """The Hub's interface, whose errors become one line."""
    try:
        yield huggingface_hub.HfApi()
    # OSError: no token, offline mode, a file that is gone. ValueError: a card that it refuses.
    except (httpx2.HTTPError, OSError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise TransferSearchError("--push-to-hub", found=f"the Hub refused: {reason}") from error
