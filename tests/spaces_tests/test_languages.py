"""The named sets of languages, and what they expand to."""

from __future__ import annotations

import re

from spaces.catalogue import load_catalogue
from spaces.languages import ALL, LANGUAGE_SETS, XTREME_TASKS, expand_languages

# Taken from the pages that spaces/languages.py names.
SIZES = {"low-resource": 7, "low-resource-broad": 22, "xtreme": 40, "xtreme-r": 50}
XTREME_SIZES = {
    **{"xnli": 15, "pawsx": 7, "udpos": 33, "panx": 40, "xquad": 11, "mlqa": 7, "tydiqa": 9},
    **{"bucc2018": 4, "tatoeba": 36},
}


def test_every_set_has_the_size_that_its_source_says_and_they_lie_in_one_another() -> None:
    assert {name: len(codes) for name, codes in LANGUAGE_SETS.items()} == SIZES
    sets = {name: set(codes) for name, codes in LANGUAGE_SETS.items()}
    assert {name: len(codes) for name, codes in sets.items()} == SIZES, "each code once"
    assert all(re.fullmatch("[a-z]{3}", code) for codes in sets.values() for code in codes)
    assert sets["low-resource"] < sets["low-resource-broad"] < sets["xtreme"] < sets["xtreme-r"]
    assert "eng" in sets["xtreme"]
    assert "eng" not in sets["low-resource-broad"]


def test_the_set_xtreme_picks_the_languages_that_xtreme_averages_each_task_over() -> None:
    assert {name: len(set(codes)) for name, codes in XTREME_TASKS.items()} == XTREME_SIZES
    xtreme = set(expand_languages(["xtreme"]))
    for name, codes in XTREME_TASKS.items():
        assert xtreme & set(load_catalogue()[name].languages) == set(codes), name
    assert set().union(*XTREME_TASKS.values()) == xtreme == set(LANGUAGE_SETS["xtreme"])


def test_sets_and_codes_mix_and_each_code_comes_once() -> None:
    expanded = expand_languages(["yor", "low-resource", "qaa", "yor"])
    assert expanded == ("yor", "jav", "mal", "mya", "tel", "mar", "swa", "qaa")


def test_all_is_every_language_of_the_task_at_hand() -> None:
    assert expand_languages([ALL], ["swa", "eng", "yor"]) == ("swa", "eng", "yor")
    assert expand_languages(["yor", ALL], ["swa", "eng", "yor"]) == ("yor", "swa", "eng")
    assert expand_languages([ALL]) == ()
