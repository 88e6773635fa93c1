"""`search.data`: which corpora there are and where from, a folder checked, the catalogue."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest

from search import data, run
from search.command_line.corpora import DownloadBars
from search.command_line.output import plain_console
from spaces.backbones import known_backbones
from spaces.catalogue import load_catalogue
from spaces.errors import DataError, UnknownNameError
from spaces.studies import study_files
from tests.raising import ends_with
from tests.raw_host import blob, raw_host


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSFER_SEARCH_CORPORA", str(tmp_path / "cache"))


def put(
    folder: Path, task: str, text: str = "Ola\tB-PER\n", languages: tuple[str, ...] = ("eng",)
) -> None:
    """Files of a task with entities, for training and validation."""
    for language in languages:
        at = folder / "ner" / task / language
        at.mkdir(parents=True)
        for split in ("train", "dev"):
            (at / f"{split}.conll").write_text(text)


def shown(words: list[str], capsys: pytest.CaptureFixture[str], code: int = 0) -> str:
    """What a command prints."""
    assert data.main(words) == code
    return capsys.readouterr().out


def lines_of(task: str, printed: str) -> str:
    """The lines of a task: its languages and size, then its place and licence."""
    lines = printed.splitlines()
    (first,) = [number for number, line in enumerate(lines) if line.split()[:1] == [task]]
    rest = next(n for n in range(first + 1, len(lines)) if not lines[n].startswith(" " * 6))
    return " ".join(" ".join(lines[first:rest]).split())


# --- ls


@pytest.mark.parametrize("study", study_files())
def test_no_task_of_a_shipped_study_is_without_a_source(
    study: str, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = shown(["ls", "--study", study], capsys)
    assert ", none without a source" in " ".join(printed.split())
    assert printed.endswith(f"python -m search.data get --study {study} gets what is not here\n")


@pytest.mark.parametrize("width", [80, 120])
def test_a_list_fits_into_the_terminal(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    printed = shown(["ls", "--study", "xtreme_domains"], capsys)
    assert max(map(len, printed.splitlines())) <= width


def test_a_corpus_is_listed_with_its_place_size_and_licence(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    put(tmp_path / "data", "bc5cdr", "Ola\tB-Chemical\n")
    printed = shown(["ls", "--kind", "ner", "--data", str(tmp_path / "data")], capsys)
    assert lines_of("bc5cdr", printed).startswith("bc5cdr eng 15 B here folder ")
    assert "nowhere not in the folder; " in lines_of("wikigold", printed)
    printed = shown(["ls", "--kind", "ner"], capsys)
    assert "not here raw files" in lines_of("bc5cdr", printed)
    assert "CC BY 4.0" in lines_of("bc5cdr", printed)
    assert "here pocket" in lines_of("pocket_ner", printed)
    assert "(40); no copy of aze guj lit pan pol que ron ukr is known" in lines_of("panx", printed)
    printed = shown(["ls", "--kind", "classification", "--domain", "legal"], capsys)
    own = "a folder for --data with classification/ledgar/{language}/{split}.tsv"
    assert f"nowhere no copy is known: {own}" in lines_of("ledgar", printed)


def test_a_list_is_narrowed_by_kind_domain_and_language(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["ls", "--json", "--kind", "ner", "--language", "yor"]
    rows = json.loads(shown(words, capsys))
    assert {(row["kind"], row["language"]) for row in rows} == {("ner", "yor")}
    assert {"panx", "masakhaner2"} <= {row["task"] for row in rows}
    assert {"licence", "revision", "bytes", "here", "place", "urls"} <= rows[0].keys()
    legal = json.loads(shown(["ls", "--json", "--domain", "legal"], capsys))
    assert {row["domain"] for row in legal} == {"legal"}


def test_several_folders_are_searched_in_turn(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for task in ("wnut17", "wikigold"):
        put(tmp_path / f"of_{task}", task)
    folders = [str(tmp_path / "of_wnut17"), str(tmp_path / "of_wikigold")]
    printed = shown(["ls", "--data", os.pathsep.join(folders)], capsys)
    for task, folder in zip(("wnut17", "wikigold"), folders, strict=True):
        assert f"here folder {folder}/" in lines_of(task, printed)
    gone = str(tmp_path / "gone")
    with ends_with(DataError, subject="--data", expected="or a folder", found=repr(gone)):
        data.main(["ls", "--data", os.pathsep.join([folders[0], gone])])
    with pytest.raises(SystemExit):
        data.main(["ls", "--help"])
    assert f"several folders are joined by {os.pathsep!r}" in " ".join(
        capsys.readouterr().out.split()
    )


def test_the_name_of_a_file_is_no_markup_while_it_comes() -> None:
    out = io.StringIO()
    with DownloadBars(plain_console(file=out, width=100, force_terminal=True)) as bars:
        bars.on_bytes("a [/b] :smile: [red]", 1, 10)
    assert "a [/b] :smile: [red]" in out.getvalue()


# --- check


def test_a_split_of_names_without_one_is_a_problem(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    put(tmp_path / "data", "wnut17", "Ola\tO\n\nLagos\tO\n")
    printed = shown(["check", str(tmp_path / "data")], capsys, code=1)
    assert "expected at least one entity, found only O tags" in printed


def test_all_that_is_wrong_with_a_folder_is_shown_at_once(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    put(folder, "wnut17", "Ola\tB-person\n\nLagos B\nx\tO\n\nAsha\tI-person\n\ny\tO\n")
    put(folder, "wikigold")
    (folder / "ner" / "wikigold" / "eng" / "test.conll").write_bytes(b"Ola\tB-PER\n\xff\tO\n")
    (folder / "ner" / "wikigould.conll").write_text("misspelt")
    printed = shown(["check", str(folder)], capsys, code=1)
    for split in ("train", "dev"):
        for line in (3, 6):
            assert f"ner/wnut17/eng/{split}.conll:{line}: expected" in printed
    assert "ner/wikigold/eng/test.conll:2: expected UTF-8" in printed
    assert "1 files are of no task: ner/wikigould.conll" in printed
    assert printed.endswith(f"{folder}: 5 splits read, 5 problems, 0 missing\n")


def test_a_folder_without_a_fault_is_said_to_be_one(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    put(tmp_path / "data", "wikigold")
    printed = shown(["check", str(tmp_path / "data")], capsys)
    assert printed.endswith("2 splits read, 0 problems, 0 missing\n")
    with ends_with(DataError, expected="a folder", found="none there"):
        data.main(["check", str(tmp_path / "nosuch")])


def test_a_folder_that_lacks_splits_of_a_study_is_shown_all_of_them(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    put(tmp_path / "data", "panx")
    words = ["check", str(tmp_path / "data"), "--study", "xtreme_legal"]
    missing = [x for x in shown(words, capsys, code=1).splitlines() if x.startswith("missing: ")]
    (panx,) = [x for x in missing if x.startswith("missing: panx ")]
    assert panx.startswith("missing: panx validation: jav mar ")
    assert panx.endswith("(as ner/panx/jav/dev.conll or panx/dev-jv.tsv)")
    assert len(missing) > 20


def test_a_run_on_such_a_folder_lists_them_and_the_command_that_gets_them(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    put(tmp_path / "data", "panx")
    folder = str(tmp_path / "data")
    with ends_with(DataError, subject="xtreme_legal", expected="all splits", found="lacking"):
        run.main(["--study", "xtreme_legal", "--data", folder])
    first, *rest = capsys.readouterr().err.splitlines()
    assert first.endswith(
        f"`python -m search.data get --study xtreme_legal --to {folder}` gets them"
    )
    assert len(rest) > 20
    assert any(line.startswith("  panx validation: jav mar ") for line in rest)


# --- get


STUDY = """
question = "Do names in news help?"
arms = ["none", "general"]
backbone = "set by the test"
intermediate = {tasks = ["wnut17"], epochs = 1, learning_rate = 1e-3}
target = {tasks = ["panx"], languages = ["swa"], epochs = 1, learning_rate = 1e-3}
"""


@pytest.fixture
def study(tmp_path: Path) -> str:
    """A study on two tasks with entities."""
    file = tmp_path / "names.toml"
    file.write_text(STUDY)
    return str(file)


@pytest.fixture
def encoder(tmp_path: Path) -> str:
    """A folder with the files of an encoder."""
    folder = tmp_path / "encoder"
    folder.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (folder / name).write_text("{}")
    return str(folder)


def test_what_is_here_already_is_copied_into_a_folder_that_data_reads(
    study: str,
    encoder: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    put(tmp_path / "here", "wnut17", "Ola\tB-person\n")
    put(tmp_path / "here", "panx", languages=("eng", "swa"))
    monkeypatch.setenv("TRANSFER_SEARCH_DATA", str(tmp_path / "here"))
    to = str(tmp_path / "to")
    words = ["get", "--study", study, "--to", to, "--backbone", encoder]
    assert shown(words, capsys).splitlines() == [
        "3 corpora are here, 4 files of them copied",
        f"encoder {encoder}: here",
        f"--data {to} reads them, without a network too",
    ]
    monkeypatch.delenv("TRANSFER_SEARCH_DATA")
    printed = shown(["check", to, "--study", study], capsys)
    assert printed.endswith("4 splits read, 0 problems, 0 missing\n")
    assert shown(words, capsys).startswith("3 corpora are here\n"), "nothing is copied twice"


RAW = """
[tasks.statutes]
kind = "ner"
domain = "legal"
role = "intermediate"
title = "Names in statutes"
languages = ["eng"]
labels = ["LAW"]
metric = "span_f1"
licence = "none stated"
urls.data = "https://example.org/statutes"
urls.licence = "https://example.org/statutes"
raw.repository = "me/statutes"
raw.commit = "{commit}"
raw.format = "tagged"
raw.columns = {{ tokens = "0", tags = "1" }}
raw.files = [{{ path = "train.tsv", blob = "{blob}", split = "train" }}]
"""


def test_raw_files_are_got_after_a_yes_to_a_licence_that_is_not_stated(
    study: str,
    encoder: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    put(tmp_path / "here", "panx", languages=("eng", "swa"))
    monkeypatch.setenv("TRANSFER_SEARCH_DATA", str(tmp_path / "here"))
    content, commit = b"Act\tB-LAW\n\nof\tO\n", "0" * 40
    own = STUDY.replace("wnut17", "statutes").replace('"general"', '"legal"')
    Path(study).write_text(own + RAW.format(commit=commit, blob=blob(content)))
    to = tmp_path / "to"
    words = ["get", "--study", study, "--to", str(to), "--backbone", encoder]
    with raw_host() as host:
        monkeypatch.setenv("TRANSFER_SEARCH_RAW_HOST", host.address)
        host.files[f"/me/statutes/{commit}/train.tsv"] = content
        asked = f"`python -m search.data get --study {study} --to {to} --accept-licences`"
        with ends_with(DataError, subject="licences", expected="statutes", advice=asked):
            data.main(words)
        assert not host.asked
        printed = shown([*words, "--accept-licences"], capsys)
        assert "get: statutes (eng) from raw files of me/statutes@000000000000" in printed
        assert "3 corpora are here" in printed
        shown(words, capsys)  # the yes is remembered, and all of it is here
        assert len(host.asked) == 1
    assert (to / "statutes/eng/train.jsonl").read_text().splitlines() == [
        '{"tokens": ["Act"], "tags": ["B-LAW"]}',
        '{"tokens": ["of"], "tags": ["O"]}',
    ]
    assert shown(["check", str(to), "--study", study], capsys).endswith("0 missing\n")


def test_an_encoder_that_cannot_be_had_is_said_beside_the_corpora(
    study: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path / "here", "wnut17", "Ola\tB-person\n")
    put(tmp_path / "here", "panx", languages=("eng", "swa"))
    monkeypatch.setenv("TRANSFER_SEARCH_DATA", str(tmp_path / "here"))
    printed = shown(["get", "--study", study, "--backbone", "xlmr"], capsys, code=1)
    assert "encoder xlmr: missing: Backbone 'xlmr' is not" in printed
    assert "Did you mean 'xlm-r'?" in printed


# --- the catalogue


def test_one_task_is_shown_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert data.main(["show", "panx"]) == 0
    shown = capsys.readouterr().out
    assert "PER, ORG, LOC" in shown
    assert "google/xtreme" in shown


def test_a_misspelt_task_is_answered_with_the_nearest() -> None:
    with ends_with(UnknownNameError, found="pannx", advice="'panx'"):
        data.main(["show", "pannx"])


def test_the_grid_counts_the_tasks_of_each_cell_and_says_which_are_empty(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert data.main(["grid"]) == 0
    shown = capsys.readouterr().out
    grid = load_catalogue().grid()
    for kind in {kind for kind, _ in grid}:
        counts = [len(names) for (of, _), names in grid.items() if of == kind]
        row, *_ = (x for x in shown.splitlines() if x.startswith(f"│ {kind} "))
        assert row.replace("│", " ").split() == [kind, *(str(n or "none") for n in counts)]
    empty = ", ".join(f"{kind} {domain}" for (kind, domain), names in grid.items() if not names)
    assert f"empty: {empty}. " in " ".join(shown.split())
    assert "│ pos                 │ biomedical │ genia " in shown


def test_every_encoder_with_a_short_name_is_shown_with_what_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    assert data.main(["encoders"]) == 0
    lines = capsys.readouterr().out.splitlines()
    records = known_backbones()
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == list(records)
    assert max(map(len, lines)) <= 64  # an address is never broken
    (xlnet,) = [i for i, line in enumerate(lines) if line.startswith("xlnet ")]
    about = " ".join(" ".join(lines[xlnet : xlnet + 6]).split())
    assert "xlnet/xlnet-base-cased, refs/pr/1 English, at most 512 sub-words, licence MIT" in about
    assert "https://arxiv.org/abs/1906.08237" in about
    (small,) = [i for i, line in enumerate(lines) if line.startswith("mmbert-small ")]
    about = " ".join(" ".join(lines[small : small + 6]).split())
    assert "unpinned many languages, at most 8192 sub-words" in about
    assert "not known to have safetensors" in about
