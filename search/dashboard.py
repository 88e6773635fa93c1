"""`python -m search.dashboard`: a study in optuna-dashboard, with its note, figures and files.

The note and the figures are written before the first page is served, and again while pages are
served, as trials come in.
"""

from __future__ import annotations

import argparse
import sys

from search.command_line.options import (
    add_cache,
    add_storage,
    default_cache,
    fail_in_one_line,
    quiet_optuna,
)
from search.command_line.parser import CommandParser, whole
from search.command_line.requests import request_from

LOOPBACK = "127.0.0.1"


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = CommandParser(prog="python -m search.dashboard", description=__doc__)
    options.add_argument("--study", required=True, help="a study's name in the storage")
    add_storage(options)
    add_cache(options, limit=False)
    options.add_argument(
        "--port", type=whole(0, 65535), default=8080, help="default: 8080; 0 takes a free one"
    )
    options.add_argument(
        "--host",
        default=LOOPBACK,
        help=f"address to listen on; default: {LOOPBACK}, which this machine alone reaches. Any "
        f"other needs --auth, and should be behind a proxy that speaks HTTPS: the password "
        f"travels in clear",
    )
    options.add_argument(
        "--auth",
        metavar="USER:FILE",
        help="ask visitors for this name and the password that FILE holds (mode 600)",
    )
    options.add_argument(
        "--public-url",
        metavar="URL",
        help="what visitors type, behind a proxy, as in https://opt.example.org: pages of that "
        "site may change studies, and X-Forwarded-For is believed",
    )
    changes = options.add_mutually_exclusive_group()
    changes.add_argument(
        "--read-only",
        action="store_true",
        help="let visitors look, and change nothing; so it is without --auth, too, as every user "
        "of this machine is let in",
    )
    changes.add_argument(
        "--allow-changes",
        action="store_true",
        help="without --auth: let every user of this machine change and delete studies",
    )
    return options


def main(arguments: list[str] | None = None) -> int:
    """Serve until Ctrl-C; returns the exit code."""
    options = parser().parse_args(arguments)
    with fail_in_one_line(works=True, storage=options.storage):
        quiet_optuna()
        from search.reporting.dashboard_access import credentials_for, public_place
        from search.studies.stored_study import check_stored_study

        credentials_for(options.host, options.auth)
        public_place(options.public_url)
        check_stored_study(options.storage, options.study)
        from search.reporting.dashboard_server import DashboardRequest, serve_dashboard
        from search.workers.trial_files import ArtifactFolder

        serve_dashboard(
            request_from(vars(options), DashboardRequest),
            ArtifactFolder(options.cache or default_cache(options.storage)),
            lambda url: print(f"{url}  (Ctrl-C ends)", flush=True),
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
