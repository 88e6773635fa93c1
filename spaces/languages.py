"""Named sets of languages, so that a study says what it means instead of forty codes.

Codes are ISO 639-3. Where a benchmark has one code for a group of languages that the catalogue
keeps as one (`msa`, `que`, `swa`), the set has that code.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

ALL = "all"
"""Stands for every language of the task at hand."""

# Hu et al. 2020, XTREME (https://arxiv.org/abs/2003.11080), table 7.
XTREME = (
    *("afr", "ara", "ben", "bul", "deu", "ell", "eng", "est", "eus", "fas", "fin", "fra", "heb"),
    *("hin", "hun", "ind", "ita", "jav", "jpn", "kat", "kaz", "kor", "mal", "mar", "msa", "mya"),
    *("nld", "por", "rus", "spa", "swa", "tam", "tel", "tgl", "tha", "tur", "urd", "vie", "yor"),
    "zho",
)

# Ruder et al. 2021, XTREME-R (https://arxiv.org/abs/2104.07412): ten more.
XTREME_R = (
    *XTREME,
    *("aze", "guj", "hat", "lit", "pan", "pol", "que", "ron", "ukr", "wol"),
)

# Joshi et al. 2020 (https://aclanthology.org/2020.acl-main.560), classes 1 and 2, of the
# languages of XTREME.
LOW_RESOURCE = ("jav", "mal", "mya", "tel", "mar", "swa", "yor")

# Those of XTREME that XTREME-UP calls under-represented (Ruder et al. 2023,
# https://arxiv.org/abs/2305.11938): XTREME_UP_UNDER_REPRESENTED_LANGS of
# https://github.com/google-research/xtreme-up/blob/af29609/evaluation/constants.py
LOW_RESOURCE_BROAD = (
    *LOW_RESOURCE,
    *("afr", "ben", "bul", "ell", "est", "eus", "heb", "ind", "kat", "kaz", "msa", "tam", "tgl"),
    *("tha", "urd"),
)

LANGUAGE_SETS: dict[str, tuple[str, ...]] = {
    "low-resource": LOW_RESOURCE,
    "low-resource-broad": LOW_RESOURCE_BROAD,
    "xtreme": XTREME,
    "xtreme-r": XTREME_R,
}

_XNLI = ("ara", "bul", "deu", "ell", "eng", "fra", "hin", "rus", "spa", "swa", "tha", "tur")
_MLQA = ("ara", "deu", "eng", "hin", "spa", "vie", "zho")
_NOT_IN_UDPOS = ("ben", "jav", "kat", "mal", "msa", "mya", "swa")
_NOT_IN_TATOEBA = ("eng", "msa", "mya", "yor")

XTREME_TASKS: dict[str, tuple[str, ...]] = {
    "xnli": (*_XNLI, "urd", "vie", "zho"),
    "pawsx": ("deu", "eng", "fra", "jpn", "kor", "spa", "zho"),
    "udpos": tuple(x for x in XTREME if x not in _NOT_IN_UDPOS),
    "panx": XTREME,
    "xquad": (*_MLQA, "ell", "rus", "tha", "tur"),
    "mlqa": _MLQA,
    "tydiqa": ("ara", "ben", "eng", "fin", "ind", "kor", "rus", "swa", "tel"),
    "bucc2018": ("deu", "fra", "rus", "zho"),
    "tatoeba": tuple(x for x in XTREME if x not in _NOT_IN_TATOEBA),
}
"""XTREME's nine tasks and the languages that each score is a mean over: those that
https://huggingface.co/datasets/google/xtreme has. The paper counts English as BUCC's fifth. The
catalogue's records may have further languages."""


def expand_languages(names: Sequence[str], known: Collection[str] = ()) -> tuple[str, ...]:
    """Codes, with named sets replaced by their members; each once, in the order given.

    Args:
        names: Codes and names of sets.
        known: What `all` stands for, in this order.
    """
    sets = {**LANGUAGE_SETS, ALL: tuple(known)}
    codes = [code for name in names for code in sets.get(name, (name,))]
    return tuple(dict.fromkeys(codes))
