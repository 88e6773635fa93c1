"""`python -m search.dashboard`: optuna-dashboard on a study's storage, for this machine only."""

from __future__ import annotations

import argparse
import sys

from search.arguments import add_storage, existing_study, fail_in_one_line

# optuna-dashboard asks for no password and lets every visitor delete studies.
HOST = "127.0.0.1"


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = argparse.ArgumentParser(prog="python -m search.dashboard", description=__doc__)
    options.add_argument("--study", required=True, help="a study's name in the storage")
    add_storage(options)
    options.add_argument(
        "--port", type=int, default=8080, help="default: 8080; 0 takes a free one"
    )
    return options


def main(arguments: list[str] | None = None) -> int:
    """Serve until Ctrl-C; returns the exit code."""
    options = parser().parse_args(arguments)
    with fail_in_one_line():
        import optuna
        from optuna_dashboard import wsgi

        from spaces.errors import SpecError
        from storage.backends import open_storage

        storage = open_storage(options.storage, create=False)
        name = existing_study(options, storage)
        # get_storage adds the cache without which every poll reads every trial again.
        app = wsgi(optuna.storages.get_storage(storage))
        study_id = storage.get_study_id_from_name(name)

        from wsgiref.simple_server import WSGIRequestHandler, make_server

        class Quiet(WSGIRequestHandler):
            def log_message(self, format: str, *args: object) -> None:
                """One line per poll helps nobody."""

        try:
            server = make_server(HOST, options.port, app, handler_class=Quiet)
        except (OSError, OverflowError) as error:
            raise SpecError(f"--port: {options.port} cannot be used here: {error}") from error
    with server:
        port = server.server_address[1]
        print(f"http://{HOST}:{port}/dashboard/studies/{study_id}  (Ctrl-C ends)", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
