"""The options of the further workers that a run starts, and the words that say them."""

from __future__ import annotations

from dataclasses import MISSING, fields, replace

from search.command_line.run_options import RunOptions

# Never on a command line: its URL may hold a password, and anybody may read command lines.
_BY_ENVIRONMENT = "storage"
_SPELLED = {"study": "--study", "overrides": "--set", "ray_address": "--address"}


def further_worker(
    options: RunOptions, threads: int | None, device: str, device_share: float
) -> RunOptions:
    """The options of one more worker of a run: the run's own, without its launcher.

    Args:
        options: Options of the run.
        threads: CPU threads of the worker; None for all cores.
        device: auto, cpu, cuda or cuda:N.
        device_share: Share of its device that the worker has, in (0, 1].
    """
    return replace(
        options,
        threads=threads,
        workers=1,
        workers_per_gpu=None,
        launcher="local",
        ray_address=None,
        end=False,
        device=device,
        device_share=device_share,
        fellow=True,
    )


def worker_words(options: RunOptions) -> list[str]:
    """The words after `search.run` that ask for these options, but for the storage.

    A worker finds the storage's URL in its environment (`TRANSFER_SEARCH_STORAGE`).
    """
    words = list[str]()
    for each in fields(options):
        value = getattr(options, each.name)
        if each.name == _BY_ENVIRONMENT or (each.default is not MISSING and value == each.default):
            continue
        option = _SPELLED.get(each.name, f"--{each.name.replace('_', '-')}")
        if each.name == "timeout":
            value = f"{value:f}s"
        if value is True:
            words.append(option)
        else:
            values = value if isinstance(value, tuple) else (value,)
            words += [f"{option}={one}" for one in values]
    return words
