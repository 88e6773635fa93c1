"""The pocket corpora are fixed, well-formed, free of leakage, and as their catalogue says."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from statistics import pstdev

import pytest

from objectives.pocket import PLANTED, pocket_split
from objectives.pocket.corpora import CORPORA, SPLITS
from objectives.pocket.encoder import pocket_config, pocket_tokenizer
from objectives.pocket.grammar import Word, with_concept
from objectives.pocket.languages import (
    DOMAINS,
    INFLECTIONS,
    LANGUAGES,
    SOURCE_LANGUAGE,
    concepts,
    in_greek,
    lexicon,
)
from spaces.catalogue import load_catalogue
from spaces.task import Task, TaskKind

# It generates all of them, which takes half a minute.
every_corpus = pytest.mark.slow
SENTENCE_TARGETS = ("ner", "pos", "topic", "sentiment", "nli", "pairs", "similarity", "qa")
UNTRAINED_TARGETS = ("retrieval", "mining")
TARGET_LANGUAGES = tuple(code for code in LANGUAGES if code != SOURCE_LANGUAGE)
POCKET_TASKS = [task for task in load_catalogue() if task.pocket]
DIGEST_CODE = """
import hashlib, json
from objectives.pocket import pocket_split
from objectives.pocket.encoder import pocket_tokenizer
splits = [pocket_split("ner", "qaf", "test"), pocket_split("similarity_legal", "qas", "train")]
vocabulary = sorted(pocket_tokenizer().get_vocab().items())
print(hashlib.sha256(json.dumps([splits, vocabulary]).encode()).hexdigest())
"""


def splits_of(corpus: str, language: str) -> tuple[str, ...]:
    return SPLITS if language == SOURCE_LANGUAGE else SPLITS[1:]


def all_splits(languages: Collection[str] = LANGUAGES) -> Iterator[tuple[str, str, str]]:
    for name, corpus in CORPORA.items():
        for language in corpus.languages:
            if language in languages:
                yield from ((name, language, split) for split in splits_of(name, language))


def sentences(corpus: str, language: str, split: str) -> set[tuple[str, str]]:
    """Each with its language."""
    columns = pocket_split(corpus, language, split)
    if "tokens" in columns:
        return {(language, " ".join(words)) for words in columns["tokens"]}
    if "context" in columns:  # of several sentences, each of which ends in a full stop
        parts = (x for text in columns["context"] for x in text.removesuffix(" .").split(" . "))
        return {(language, f"{part} .") for part in parts}
    if "side" in columns:
        sides = {"language": language, "english": SOURCE_LANGUAGE}
        rows = zip(columns["side"], columns["text"], strict=True)
        return {(sides[side], text) for side, text in rows}
    texts = (columns[name] for name in columns if name.startswith("text"))
    return {(language, text) for column in texts for text in column}


@pytest.mark.slow
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


@every_corpus
@pytest.mark.parametrize("task", POCKET_TASKS, ids=lambda task: task.name)
def test_a_corpus_is_what_its_catalogue_record_says(task: Task) -> None:
    corpus = CORPORA[task.pocket]
    assert task.languages == corpus.languages
    assert corpus.columns == task.kind.columns
    if task.kind is TaskKind.RETRIEVAL:
        columns = pocket_split(task.pocket, "qaa", "validation")
        assert set(columns["side"]) == {"language", "english"}
        return
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
    elif task.kind is TaskKind.QA:
        assert len(set(columns["id"])) == len(columns["id"])


@pytest.mark.parametrize("corpus", [name for name in CORPORA if name.startswith("ner")])
def test_entity_tags_are_iob2(corpus: str) -> None:
    for language in CORPORA[corpus].languages:
        columns = pocket_split(corpus, language, "validation")
        for words, tags in zip(columns["tokens"], columns["tags"], strict=True):
            assert len(words) == len(tags)
            for before, tag in zip(["O", *tags], tags, strict=False):
                assert not tag.startswith("I-") or before[2:] == tag[2:]


@every_corpus
@pytest.mark.parametrize("corpus", CORPORA)
def test_sizes(corpus: str) -> None:
    language = CORPORA[corpus].languages[0]
    for split in splits_of(corpus, language):
        columns = pocket_split(corpus, language, split)
        size = CORPORA[corpus].sizes[SPLITS.index(split)]
        found = {len(column) for column in columns.values()}
        if corpus == "retrieval":
            assert found == {2 * size}  # both sides of every sentence
        elif corpus == "mining":
            (count,) = found
            assert size < count < 2 * size  # of some sentences both sides
        else:
            assert found == {size}


@every_corpus
def test_sentences_have_6_to_14_words_but_for_parts_of_them() -> None:
    for name, language, split in all_splits((SOURCE_LANGUAGE, "qac")):
        columns = pocket_split(name, language, split)
        whole = [text for _, text in sentences(name, language, split)]
        if "text_a" in columns:
            whole = columns["text_a"]  # the second may leave words out
            longest = 18 if name.startswith("pairs") else 14  # may add a reference
            assert all(1 < len(text.split()) <= longest for text in columns["text_b"])
        assert all(6 <= len(text.split()) <= 14 for text in whole)


@every_corpus
def test_no_sentence_stands_in_two_splits_of_a_language() -> None:
    """Every corpus and every way to draw; languages differ in words and order alone."""
    split_of: dict[tuple[str, str], str] = {}
    for name, language, split in all_splits((SOURCE_LANGUAGE, "qab")):
        for sentence in sentences(name, language, split):
            assert split_of.setdefault(sentence, split) == split
    assert len(split_of) > 50_000


def test_only_the_source_language_has_train_splits() -> None:
    for corpus in (*SENTENCE_TARGETS, *UNTRAINED_TARGETS):
        with pytest.raises(KeyError, match="has no split 'train' in 'qaa'"):
            pocket_split(corpus, "qaa", "train")
    with pytest.raises(KeyError, match="found 'nre'"):
        pocket_split("nre", "qas", "train")


@every_corpus
@pytest.mark.parametrize(
    "corpus",
    [x for x in CORPORA if x.startswith(("nli", "pairs")) and x != "nli_trials"],
)  # the labels of nli_trials are what its first sentences happen to hold
def test_labels_of_pairs_are_balanced(corpus: str) -> None:
    labels = pocket_split(corpus, SOURCE_LANGUAGE, "train")["label"]
    classes = set(labels)
    assert min(map(labels.count, classes)) > 0.85 * len(labels) / len(classes)


def meanings(language: str) -> dict[str, str]:
    """Form -> concept, of every word with a meaning."""
    return {
        with_concept(Word("", pos, inflection=inflection), concept, language).form: concept
        for concept, pos in concepts().items()
        for inflection in ("", *INFLECTIONS)
    }


@pytest.mark.parametrize("language", [SOURCE_LANGUAGE, "qac", "qaf"])
def test_inference_follows_from_what_sentences_mean(language: str) -> None:
    meaning = meanings(language)
    columns = pocket_split("nli", language, "test")
    poles = {"adj.good": "adj.bad", "adj.bad": "adj.good"}
    for a, b, label in zip(columns["text_a"], columns["text_b"], columns["label"], strict=True):
        first, second = ([meaning.get(x, x) for x in text.split()] for text in (a, b))
        qualities = {x.rpartition(".")[0] for x in first} & poles.keys()
        denied = {poles[x] for x in qualities}
        blames = {x.rpartition(".")[0] for x in second} & denied
        added = {x for x in second if x.startswith(("noun", "verb", "adj", "adv"))} - {*first}
        if label == "entailment":
            assert Counter(second) < Counter(first)
            assert not blames
        elif label == "contradiction":
            assert blames
            assert {x.rpartition(".")[0] for x in added} == denied
        else:
            assert added


@pytest.mark.parametrize("corpus", ["pairs", "pairs_contracts"])
def test_paraphrases_say_the_same_in_another_order(corpus: str) -> None:
    meaning = meanings(SOURCE_LANGUAGE)
    columns = pocket_split(corpus, SOURCE_LANGUAGE, "test")
    for a, b, label in zip(columns["text_a"], columns["text_b"], columns["label"], strict=True):
        first, second = (sorted(meaning.get(x, x) for x in text.split()) for text in (a, b))
        assert a != b
        assert (first == second) == (label in {"same", "identical"})


def test_similarity_is_the_share_of_words_with_a_meaning_that_are_kept() -> None:
    meaning = meanings("qad")
    columns = pocket_split("similarity", "qad", "test")
    for a, b, score in zip(columns["text_a"], columns["text_b"], columns["score"], strict=True):
        words = [x for x in a.split() if x in meaning]
        kept = Counter(words) & Counter(b.split())
        # A word put in place of another may be one that was left out elsewhere.
        assert kept.total() / len(words) >= score
    assert pstdev(columns["score"]) > 0.25


@every_corpus
@pytest.mark.parametrize("corpus", [name for name in CORPORA if name.startswith("qa")])
def test_answers_stand_in_their_passages_once(corpus: str) -> None:
    columns = pocket_split(corpus, SOURCE_LANGUAGE, "train")
    unanswered = 0
    for context, answers in zip(columns["context"], columns["answers"], strict=True):
        unanswered += not answers
        for answer in answers:
            assert context[answer["start"] :].startswith(f"{answer['text']} ")
            assert f" {context} ".count(f" {answer['text']} ") == 1
            if corpus != "qa_clinic":
                assert answer["text"][0].isupper() == (corpus != "qa_docket"), "a name"
    share = unanswered / len(columns["answers"])
    assert abs(share - (0.33 if corpus == "qa_clinic" else 0)) < 0.05


@pytest.mark.parametrize("language", TARGET_LANGUAGES)
@pytest.mark.parametrize(("corpus", "share"), [("retrieval", 1.0), ("mining", 0.4)])
def test_translations_are_mutual_and_as_many_as_said(
    corpus: str, share: float, language: str
) -> None:
    for split in ("validation", "test"):
        columns = pocket_split(corpus, language, split)
        rows = zip(columns["id"], columns["text"], columns["side"], columns["match"], strict=True)
        ours: dict[str, tuple[str, str]] = {}
        english: dict[str, tuple[str, str]] = {}
        for row_id, text, side, match in rows:
            (ours if side == "language" else english)[row_id] = (text, match)
        assert not any(match for _, match in english.values())
        pairs = {row_id: match for row_id, (_, match) in ours.items() if match}
        assert len(set(pairs.values())) == len(pairs)
        assert set(pairs.values()) <= english.keys()
        size = CORPORA[corpus].sizes[SPLITS.index(split)]
        assert abs(len(pairs) / size - share) < (0 if share == 1 else 0.1) + 1e-9
        ours_mean, theirs_mean = meanings(language), meanings(SOURCE_LANGUAGE)
        for row_id, match in pairs.items():
            here = sorted(ours_mean[x] for x in ours[row_id][0].split() if x in ours_mean)
            there = english[match][0].split()
            assert here == sorted(theirs_mean[x] for x in there if x in theirs_mean)


@every_corpus
@pytest.mark.parametrize(
    "corpora",
    [
        ("text_general", "text_biomedical", "text_legal"),
        ("nli_reports", "nli_trials", "nli_clauses"),
        ("pairs_headlines", "pairs_records", "pairs_contracts"),
        ("qa_archive", "qa_clinic", "qa_docket"),
    ],
)
def test_domains_of_a_kind_differ_in_vocabulary(corpora: tuple[str, ...]) -> None:
    meaning = meanings(SOURCE_LANGUAGE)
    for corpus, domain in zip(corpora, DOMAINS, strict=True):
        texts = (text for _, text in sentences(corpus, SOURCE_LANGUAGE, "train"))
        found = {meaning[x].split(".")[1] for text in texts for x in text.split() if x in meaning}
        assert found & {*DOMAINS} == {domain}


def test_languages_differ_in_script_order_and_vocabulary() -> None:
    not_latin = {
        code
        for code in LANGUAGES
        for text in pocket_split("sentiment", code, "validation")["text"]
        if any(letter.isalpha() and not letter.isascii() for letter in text)
    }
    assert not_latin == {"qaf"}
    assert len({language.order for language in LANGUAGES.values()}) >= 4
    source = set(lexicon("qas").stems.values())
    for code in LANGUAGES.keys() - {SOURCE_LANGUAGE}:
        assert 0.3 < len(source & set(lexicon(code).stems.values())) / len(source) < 0.8
    greek = lexicon("qaf").stems.values()
    assert len(set(map(in_greek, greek))) > 0.97 * len(set(greek)), "letters tell forms apart"


@every_corpus
def test_the_tokenizer_knows_every_word() -> None:
    tokenizer = pocket_tokenizer()
    assert len(tokenizer) == pocket_config().vocab_size
    for name, language, split in all_splits((SOURCE_LANGUAGE, "qaf")):
        if split != "validation":  # drawn as the others are, and the smallest
            continue
        texts = sorted(text for _, text in sentences(name, language, split))[:50]
        encoded = tokenizer(texts)["input_ids"]
        assert all(tokenizer.unk_token_id not in ids for ids in encoded)
        assert max(map(len, encoded)) <= 64


def test_planted_effects_name_corpora_and_are_told_once() -> None:
    assert all({effect.intermediate, effect.target} <= CORPORA.keys() for effect in PLANTED)
    assert all(effect.target in SENTENCE_TARGETS for effect in PLANTED)
    assert {task.pocket for task in POCKET_TASKS} == set(CORPORA)
    pairs = [(effect.intermediate, effect.target) for effect in PLANTED]
    assert len(set(pairs)) == len(pairs)
    sign = {"helps": 1, "hurts": -1}
    for effect in PLANTED:
        if effect.effect == "nothing":
            assert effect.points is None
        else:
            assert effect.points is not None
            assert effect.points * sign[effect.effect] > 3, effect
