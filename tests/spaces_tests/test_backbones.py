"""The encoders with a name of their own, and how a wrong record is answered."""

from __future__ import annotations

from pathlib import Path

import pytest

from spaces.backbones import known_backbones, read_backbones
from spaces.errors import SpecError
from tests.raising import raises

RECORD = {
    "repository": '"me/encoder"',
    "family": '"bert"',
    "licence": '"MIT"',
    "url": '"https://huggingface.co/me/encoder"',
    "max_length": "512",
    "multilingual": "false",
    "safetensors": "true",
}


def write(folder: Path, **changes: str) -> Path:
    """A file with one record, `[mine]`."""
    path = folder / "backbones.toml"
    fields = {**RECORD, **changes}
    path.write_text("[mine]\n" + "".join(f"{k} = {v}\n" for k, v in fields.items() if v))
    return path


def test_the_encoders_of_the_papers_are_known_and_each_says_from_which_page() -> None:
    records = known_backbones()
    multilingual = {"mbert", "xlm-r", "xlm-r-large", "mdeberta", "legal-xlm-r"}
    multilingual |= {"mmbert", "mmbert-small", "glot500", "afro-xlm-r", "xlm-v"}
    others = {"bert", "bert-large", "roberta", "xlnet", "deberta", "biobert", "scibert"}
    assert records.keys() >= multilingual | others | {"legal-bert", "minilm"}
    assert {x.name for x in records.values() if x.multilingual} == multilingual
    assert len({x.repository for x in records.values()}) == len(records)
    for name, record in records.items():
        assert record.name == name
        assert record.url == f"https://huggingface.co/{record.repository}"
        assert record.licence == record.licence.strip() != ""
        assert record.max_length == (8192 if record.family == "modernbert" else 512)
        assert record.safetensors or name == "mmbert-small"
        assert "/" not in name, "else a name could not be told from a repository"


def test_safetensors_in_a_pull_request_are_named_by_it(tmp_path: Path) -> None:
    record = read_backbones(write(tmp_path, revision='"refs/pr/3"'))["mine"]
    assert record.revision == "refs/pr/3"


def test_a_right_file_is_read_as_it_stands(tmp_path: Path) -> None:
    record = read_backbones(write(tmp_path))["mine"]
    assert (record.name, record.repository, record.revision) == ("mine", "me/encoder", "")
    assert record.safetensors is True


@pytest.mark.parametrize(
    ("changes", "field", "expected", "found", "advice"),
    [
        ({"safetensor": "true"}, "safetensor", "", "unknown", "did you mean 'safetensors'?"),
        ({"family": ""}, "family", "", "missing", "add it"),
        ({"max_length": '"512"'}, "max_length", "a whole number", "'512'", ""),
        ({"max_length": "0"}, "max_length", "greater than 0", "0", ""),
        ({"repository": '"encoder"'}, "repository", "matches", "'encoder'", ""),
        ({"revision": '"e73636d"'}, "revision", "matches", "'e73636d'", ""),
        ({"revision": '"main"'}, "revision", "matches", "'main'", ""),
        ({"name": '"mine"'}, "name", "", "unknown", "the table names it"),
    ],
)
def test_a_wrong_record_names_itself_and_the_field(
    tmp_path: Path, changes: dict[str, str], field: str, expected: str, found: str, advice: str
) -> None:
    with raises(SpecError, expected=expected, found=found, advice=advice) as caught:
        read_backbones(write(tmp_path, **changes))
    assert caught.value.subject == f"backbone 'mine' (backbones.toml), field {field!r}"
    assert "\n" not in str(caught.value)


def test_a_field_outside_any_table_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('family = "bert"\n')
    with raises(SpecError, subject="mine.toml", expected="tables", found="the field 'family'"):
        read_backbones(path)
