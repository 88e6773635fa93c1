"""Named sets of languages, so that a study says what it means instead of forty codes."""

from __future__ import annotations

from collections.abc import Sequence

# Joshi et al. 2020 (https://aclanthology.org/2020.acl-main.560), classes 1 and 2, of the
# languages of XTREME (Hu et al. 2020, https://arxiv.org/abs/2003.11080, table 7).
LOW_RESOURCE = ("jav", "mal", "mya", "tel", "mar", "swa", "yor")

LANGUAGE_SETS: dict[str, tuple[str, ...]] = {"low-resource": LOW_RESOURCE}


def expand_languages(names: Sequence[str]) -> tuple[str, ...]:
    """Codes, with named sets replaced by their members; each once, in the order given."""
    codes = [code for name in names for code in LANGUAGE_SETS.get(name, (name,))]
    return tuple(dict.fromkeys(codes))
