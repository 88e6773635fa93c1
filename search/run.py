"""`python -m search.run`: create, resume or extend a study, and run its trials."""

from __future__ import annotations

import sys

from search.command_line.options import fail_in_one_line
from search.command_line.run_options import RunOptions, read_run_options
from search.studies.study_file import read_study_file
from spaces.studies import load_study, study_files


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    with fail_in_one_line(works=True):
        options = read_run_options(sys.argv[1:] if arguments is None else arguments)
        return _list() if options is None else _run(options)


def _list() -> int:
    for name in study_files():
        print(f"{name:<20} {load_study(name).question}")
    return 0


def _run(options: RunOptions) -> int:
    file = read_study_file(options.study, options.overrides)
    if options.launcher == "ray":
        from search.launch.on_ray import launch_on_ray
        from storage.urls import parse_url

        parse_url(options.storage)  # before a cluster is started
        return launch_on_ray(options, file)
    from search.workers.starting import start_run

    return start_run(options, file)


if __name__ == "__main__":
    sys.exit(main())
