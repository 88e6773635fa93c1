"""The named sets of languages, and what they expand to."""

from __future__ import annotations

import re

import pytest

from spaces.catalogue import load_catalogue
from spaces.languages import ALL, LANGUAGE_SETS, XTREME_TASKS, expand_languages

# Taken from the pages that spaces/languages.py names.
SIZES = {"low-resource": 7, "low-resource-broad": 22, "xtreme": 40, "xtreme-r": 50}
XTREME_SIZES = {
    **{"xnli": 15, "pawsx": 7, "udpos": 33, "panx": 40, "xquad": 11, "mlqa": 7, "tydiqa": 9},
    **{"bucc2018": 4, "tatoeba": 36},
}


def test_every_set_has_the_size_that_its_source_says() -> None:
    assert {name: len(codes) for name, codes in LANGUAGE_SETS.items()} == SIZES


@pytest.mark.parametrize("name", LANGUAGE_SETS)
def test_a_set_has_each_code_once(name: str) -> None:
    codes = LANGUAGE_SETS[name]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch("[a-z]{3}", code) for code in codes)


def test_the_sets_lie_in_one_another() -> None:
    sets = {name: set(codes) for name, codes in LANGUAGE_SETS.items()}
    assert sets["low-resource"] < sets["low-resource-broad"] < sets["xtreme"] < sets["xtreme-r"]
    assert "eng" in sets["xtreme"]
    assert "eng" not in sets["low-resource-broad"]


def test_xtreme_averages_each_task_over_its_own_languages() -> None:
    assert {name: len(set(codes)) for name, codes in XTREME_TASKS.items()} == XTREME_SIZES


@pytest.mark.parametrize("name", XTREME_TASKS)
def test_the_languages_of_an_xtreme_task_are_in_xtreme_and_in_its_record(name: str) -> None:
    assert set(XTREME_TASKS[name]) <= set(LANGUAGE_SETS["xtreme"])
    assert set(XTREME_TASKS[name]) <= set(load_catalogue()[name].languages)


@pytest.mark.parametrize("name", XTREME_TASKS)
def test_the_set_xtreme_picks_the_languages_that_xtreme_averages_over(name: str) -> None:
    of_the_set = set(expand_languages(["xtreme"])) & set(load_catalogue()[name].languages)
    assert of_the_set == set(XTREME_TASKS[name])


def test_every_language_of_xtreme_is_in_some_task() -> None:
    assert set().union(*XTREME_TASKS.values()) == set(LANGUAGE_SETS["xtreme"])


def test_sets_and_codes_mix_and_each_code_comes_once() -> None:
    expanded = expand_languages(["yor", "low-resource", "deu", "yor"])
    assert expanded == ("yor", "jav", "mal", "mya", "tel", "mar", "swa", "deu")


def test_all_is_every_language_of_the_task_at_hand() -> None:
    assert expand_languages([ALL], ["swa", "eng", "yor"]) == ("swa", "eng", "yor")
    assert expand_languages(["yor", ALL], ["swa", "eng", "yor"]) == ("yor", "swa", "eng")
    assert expand_languages([ALL]) == ()


def test_a_code_in_no_set_stays_as_it_is() -> None:
    assert expand_languages(["qaa"]) == ("qaa",)
