"""A study goes on with a larger space: what is carried, and what is refused."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from search import extend, run, status
from search.studies.baseline import kept_baseline
from search.studies.versions import resolved, version_name, version_of
from storage.ledger import Ledger
from storage.opening import open_storage
from tests.search_tests.conftest import Workplace

WIDER = "intermediate.epochs=[1, 2, 3]"
MORE = 'intermediate.tasks=["pocket_ner_calendar", "pocket_ner_parties", "pocket_ner_assay"]'


@pytest.fixture
def command(searched: Workplace, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run `search.extend` on the finished study."""
    monkeypatch.chdir(searched.folder)

    def command(*words: str) -> int:
        given = ["--study", "tiny.toml", "--data", "pocket", "--backbone", str(searched.encoder)]
        try:
            return extend.main([*given, *words])
        except SystemExit as ended:
            return int(ended.code or 0)

    return command


def _study(folder: Path, name: str) -> optuna.Study:
    storage = open_storage(f"sqlite:///{folder / 'transfer-search.sqlite'}")
    return optuna.load_study(study_name=name, storage=storage)


def test_a_larger_space_has_the_trials_of_the_old_one_and_goes_on(
    command: Callable[..., int], searched: Workplace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("--set", WIDER, "--set", 'arms=["none", "general", "legal", "biomedical"]') == 2
    assert "would be lost" not in capsys.readouterr().err, "an arm without a task is refused first"
    assert command("--set", WIDER) == 0
    said, shown = capsys.readouterr().out.splitlines()
    assert said.startswith("tiny@2: 4 trials of tiny and a larger space")
    old, new = _study(searched.folder, "tiny"), _study(searched.folder, "tiny@2")
    assert [x.params for x in new.trials] == [x.params for x in old.trials]
    assert [x.value for x in new.trials] == [x.value for x in old.trials]
    assert new.user_attrs["extends"] == "tiny"
    ledger = Ledger(open_storage(searched.storage).engine)
    assert ledger.pairs("tiny@2", "validation") == ledger.pairs("tiny", "validation")
    was, becomes = (_study(searched.folder, x) for x in ("tiny.baseline", "tiny@2.baseline"))
    assert [x.params for x in becomes.trials] == [x.params for x in was.trials]
    assert [x.value for x in becomes.trials] == [x.value for x in was.trials]
    assert kept_baseline("tiny@2", ledger) == kept_baseline("tiny", ledger)
    assert (new.metric_names, becomes.metric_names) == (old.metric_names, was.metric_names)

    words = shlex.split(shown)
    assert words[:3] == ["python", "-m", "search.run"]
    assert run.main([*words[3:], "--threads", "1", "--quiet"]) == 0
    trials = _study(searched.folder, "tiny@2").trials
    assert len(trials) == 8, "twice as many as were carried"
    assert len(_study(searched.folder, "tiny").trials) == 4
    assert len(_study(searched.folder, "tiny@2.baseline").trials) == len(was.trials)
    epochs = {c for x in trials for c in x.distributions.get("intermediate.epochs", _none).choices}
    assert 3 in epochs
    status.main(["--study", "tiny"])
    assert capsys.readouterr().out.startswith("tiny@2 "), "the name means the newest version"
    status.main(["--study", "tiny@1"])
    assert capsys.readouterr().out.startswith("tiny ")


_none = optuna.distributions.CategoricalDistribution((0,))


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ((), "expected a larger space, found the one it has"),
        (("--set", "intermediate.epochs=[1]"), "spec.intermediate.epochs: [1, 2] then, [1] now"),
        # Its trials had no more epochs to choose from.
        (("--set", "target.epochs=[1, 2]"), "its trials would mean something else"),
        # The baseline that the gains are over was tuned over these.
        (
            ("--set", "target.learning_rate=[1e-4, 5e-4, 1e-3]"),
            "spec.target.learning_rate: [0.001] then, [0.0001, 0.0005, 0.001] now",
        ),
        (("--set", "target.languages=['qaa']"), "its trials would mean something else"),
        (("--set", "baseline_seeds=2"), "spec.baseline_seeds: 1 then, 2 now"),
    ],
)
def test_what_would_make_the_trials_others_is_refused(
    command: Callable[..., int],
    searched: Workplace,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    reason: str,
) -> None:
    assert command(*words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert reason in error
    names = optuna.get_all_study_names(open_storage(searched.storage))
    assert sorted(names) == ["tiny", "tiny.baseline"]


def test_a_fixed_value_may_become_a_choice(
    command: Callable[..., int], searched: Workplace
) -> None:
    arms = 'arms=["none", "general", "legal", "biomedical"]'
    words = ("--set", "intermediate.batch_size=[16, 32]", "--set", MORE, "--set", arms)
    assert command(*words) == 0
    for trial in _study(searched.folder, "tiny@2").trials:
        assert trial.params["intermediate.batch_size"] == 16


def test_a_study_whose_baseline_is_not_known_is_not_extended(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert workplace.search("--quiet", "--gpu-hours", "1e-9").returncode == 0
    words = ["--study", "tiny.toml", "--data", "pocket", "--backbone", str(workplace.encoder)]
    done = workplace.call(extend.main, *words, "--set", WIDER)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "direct trainings that are not done" in done.stderr
    assert "search.run --study tiny" in done.stderr


def test_an_extension_that_was_killed_half_way_is_made_anew(
    command: Callable[..., int], searched: Workplace, capsys: pytest.CaptureFixture[str]
) -> None:
    optuna.create_study(study_name="tiny@2", storage=open_storage(searched.storage))
    status.main(["--study", "tiny", "--storage", searched.storage])
    assert capsys.readouterr().out.startswith("tiny "), "half of a version is none"
    assert command("--set", WIDER) == 0
    assert len(_study(searched.folder, "tiny@2").trials) == 4


def test_versions_have_names() -> None:
    assert version_of("ner@12") == ("ner", 12)
    assert version_of("ner") == ("ner", 1)
    assert version_name("ner", 1) == "ner"
    assert resolved("ner", ["ner", "ner@2", "ner@10", "other@11"]) == "ner@10"
    assert resolved("ner@1", ["ner", "ner@2"]) == "ner"
    assert resolved("new", ["ner"]) == "new"
