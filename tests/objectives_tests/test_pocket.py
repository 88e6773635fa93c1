"""The pocket corpora are fixed, well-formed, free of leakage, and as their catalogue says."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from objectives.pocket import PLANTED, pocket_config, pocket_split, pocket_tokenizer
from objectives.pocket.corpora import CORPORA, SPLITS
from objectives.pocket.languages import LANGUAGES, SOURCE_LANGUAGE, in_greek, lexicon
from spaces.catalogue import Task, TaskKind, load_catalogue

TARGETS = ("ner", "pos", "topic", "sentiment")
POCKET_TASKS = [task for task in load_catalogue() if task.pocket]
DIGEST_CODE = """
import hashlib, json
from objectives.pocket import pocket_split, pocket_tokenizer
splits = [pocket_split("ner", "qaf", "test"), pocket_split("similarity_legal", "qas", "train")]
vocabulary = sorted(pocket_tokenizer().get_vocab().items())
print(hashlib.sha256(json.dumps([splits, vocabulary]).encode()).hexdigest())
"""


def all_splits() -> Iterator[tuple[str, str, str]]:
    for name, corpus in CORPORA.items():
        for language in corpus.languages:
            trains = language == SOURCE_LANGUAGE or name == "text"
            yield from ((name, language, split) for split in (SPLITS if trains else SPLITS[1:]))


def sentences(corpus: str, language: str, split: str) -> set[str]:
    columns = pocket_split(corpus, language, split)
    if "tokens" in columns:
        return {" ".join(words) for words in columns["tokens"]}
    return {text for name in columns if name.startswith("text") for text in columns[name]}


def test_another_process_with_another_hash_seed_makes_the_same() -> None:
    root = Path(__file__).parents[2]
    found = subprocess.run(
        [sys.executable, "-c", DIGEST_CODE],
        env={**os.environ, "PYTHONHASHSEED": "4711", "PYTHONPATH": str(root)},
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()[-1]
    splits = [pocket_split("ner", "qaf", "test"), pocket_split("similarity_legal", "qas", "train")]
    vocabulary = sorted(pocket_tokenizer().get_vocab().items())
    assert found == hashlib.sha256(json.dumps([splits, vocabulary]).encode()).hexdigest()


@pytest.mark.parametrize("task", POCKET_TASKS, ids=lambda task: task.name)
def test_a_corpus_is_what_its_catalogue_record_says(task: Task) -> None:
    corpus = CORPORA[task.pocket]
    assert task.languages == corpus.languages
    assert corpus.columns == task.kind.columns
    columns = pocket_split(task.pocket, SOURCE_LANGUAGE, "train")
    if task.kind.is_tagging:
        found = {tag for tags in columns["tags"] for tag in tags}
        types = {tag.removeprefix("B-").removeprefix("I-") for tag in found} - {"O"}
        assert (types if task.kind is TaskKind.NER else found) == set(task.labels)
    elif task.kind.is_classification:
        assert set(columns["label"]) == set(task.labels)
    elif task.kind is TaskKind.SIMILARITY:
        assert all(0 <= score <= 1 for score in columns["score"])
        assert len(set(columns["score"])) > 5


def test_the_catalogue_has_every_pocket_corpus() -> None:
    assert {task.pocket for task in POCKET_TASKS} == set(CORPORA)


@pytest.mark.parametrize("corpus", [name for name in CORPORA if name.startswith("ner")])
def test_entity_tags_are_iob2(corpus: str) -> None:
    for language in CORPORA[corpus].languages:
        columns = pocket_split(corpus, language, "validation")
        for words, tags in zip(columns["tokens"], columns["tags"], strict=True):
            assert len(words) == len(tags)
            for before, tag in zip(["O", *tags], tags, strict=False):
                assert not tag.startswith("I-") or before[2:] == tag[2:]


def test_sizes_and_lengths() -> None:
    for name, language, split in all_splits():
        columns = pocket_split(name, language, split)
        size = CORPORA[name].sizes[SPLITS.index(split)]
        assert {len(column) for column in columns.values()} == {size}
        if "similarity" not in name:  # a changed word never changes the length, but says so twice
            assert all(6 <= len(text.split()) <= 14 for text in sentences(name, language, split))


def test_no_sentence_stands_in_two_splits_of_a_language() -> None:
    split_of: dict[tuple[str, str], str] = {}
    for name, language, split in all_splits():
        for sentence in sentences(name, language, split):
            assert split_of.setdefault((language, sentence), split) == split


def test_only_the_source_language_has_train_splits() -> None:
    for corpus in TARGETS:
        with pytest.raises(KeyError, match="has no split 'train' in 'qaa'"):
            pocket_split(corpus, "qaa", "train")


def test_an_unknown_corpus_is_named() -> None:
    with pytest.raises(KeyError, match="found 'nre'"):
        pocket_split("nre", "qas", "train")


def test_languages_differ_in_script_order_and_vocabulary() -> None:
    not_latin = {
        code
        for code in LANGUAGES
        for text in pocket_split("text", code, "validation")["text"]
        if any(letter.isalpha() and not letter.isascii() for letter in text)
    }
    assert not_latin == {"qaf"}
    assert len({language.order for language in LANGUAGES.values()}) >= 4
    source = set(lexicon("qas").stems.values())
    for code in LANGUAGES.keys() - {SOURCE_LANGUAGE}:
        assert 0.3 < len(source & set(lexicon(code).stems.values())) / len(source) < 0.8


def test_greek_letters_tell_forms_apart() -> None:
    stems = lexicon("qaf").stems
    assert len({in_greek(stem) for stem in stems.values()}) > 0.97 * len(set(stems.values()))


def test_the_tokenizer_knows_every_word() -> None:
    tokenizer = pocket_tokenizer()
    assert len(tokenizer) == pocket_config().vocab_size
    for name, language, split in all_splits():
        texts = sorted(sentences(name, language, split))[:50]
        encoded = tokenizer(texts)["input_ids"]
        assert all(tokenizer.unk_token_id not in ids for ids in encoded)
        assert max(map(len, encoded)) <= 64


def test_planted_effects_name_corpora_and_are_told_once() -> None:
    assert all({effect.intermediate, effect.target} <= CORPORA.keys() for effect in PLANTED)
    assert all(effect.target in TARGETS for effect in PLANTED)
    pairs = [(effect.intermediate, effect.target) for effect in PLANTED]
    assert len(set(pairs)) == len(pairs)
