"""Tiny encoders, toy corpora and catalogue records that the tests of objectives share."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import pytest
import torch
import transformers
from transformers import PretrainedConfig, PreTrainedTokenizerBase
from transformers.convert_slow_tokenizer import bytes_to_unicode

from objectives.hardware import Hardware
from objectives.models import Backbone, load_backbone
from spaces.catalogue import Task
from spaces.recipe import Schedule, Stage

SIZES: dict[str, Any] = {
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "hidden_size": 32,
    "intermediate_size": 48,
    "max_position_embeddings": 66,
}
LABELS = {
    "ner": ("PER", "LOC"),
    "pos": ("NOUN", "VERB", "PROPN"),
    "classification": ("sport", "law", "health"),
    "sentiment": ("positive", "negative"),
}
METRICS = {"ner": "span_f1", "pos": "span_f1", "similarity": "spearman", "mlm": None}

# Toy language: what a word is shows in the word, so that a few updates learn it.
PEOPLE, PLACES = ("juma", "asha", "bola"), ("mombasa", "lagos", "kisumu")
VERBS, NOUNS = ("anaenda", "anasoma", "analala"), ("mpira", "sheria", "afya")
FAMILIES = ("bert", "mbert", "roberta", "xlm-roberta", "xlnet", "deberta", "deberta-v2")


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Two cores are shared, and results depend on the number of threads."""
    torch.set_num_threads(1)
    transformers.logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()


# --- encoders


def _word_pieces(*special: str) -> dict[str, int]:
    """Letters that continue a word or begin it, `##an`, and a few whole words."""
    pieces = [*special, *ascii_lowercase, "J", "."]
    pieces += [f"##{piece}" for piece in (*ascii_lowercase, "an")]
    pieces += [*PEOPLE, *NOUNS, "ana"]
    return {piece: number for number, piece in enumerate(pieces)}


def _bytes(*special: str) -> dict[str, int]:
    alphabet = bytes_to_unicode().values()
    return {piece: number for number, piece in enumerate((*special, *alphabet))}


def _unigrams(*special: str) -> list[tuple[str, float]]:
    pieces = ["▁", *ascii_lowercase, *(f"▁{word}" for word in (*PEOPLE, *NOUNS))]
    return [*((name, 0.0) for name in special), *((piece, -len(piece) / 9) for piece in pieces)]


def _parts(family: str) -> tuple[PreTrainedTokenizerBase, PretrainedConfig]:
    bert = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    roberta = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
    tokenizer: PreTrainedTokenizerBase
    config: PretrainedConfig
    if family in {"bert", "mbert"}:
        lower = family == "bert"
        tokenizer = transformers.BertTokenizer(vocab=_word_pieces(*bert), do_lower_case=lower)
        # As in google-bert/bert-base-multilingual-cased: cased, and a pooler of its own sizes.
        sizes: dict[str, Any] = {} if lower else {"directionality": "bidi", "pooler_fc_size": 768}
        return tokenizer, transformers.BertConfig(vocab_size=len(tokenizer), **SIZES, **sizes)
    if family == "roberta":
        tokenizer = transformers.RobertaTokenizer(vocab=_bytes(*roberta), merges=[])
        config = transformers.RobertaConfig(
            vocab_size=len(tokenizer), pad_token_id=1, type_vocab_size=1, **SIZES
        )
    elif family == "xlm-roberta":
        tokenizer = transformers.XLMRobertaTokenizer(vocab=_unigrams(*roberta))
        config = transformers.XLMRobertaConfig(
            vocab_size=len(tokenizer), pad_token_id=1, type_vocab_size=1, **SIZES
        )
    elif family == "xlnet":
        special = ("<unk>", "<s>", "</s>", "<cls>", "<sep>", "<pad>", "<mask>", "<eod>", "<eop>")
        tokenizer = transformers.XLNetTokenizer(vocab=_unigrams(*special))
        config = transformers.XLNetConfig(
            vocab_size=len(tokenizer), d_model=32, n_layer=2, n_head=2, d_inner=48, pad_token_id=5
        )
    elif family == "deberta":
        tokenizer = transformers.DebertaTokenizer(vocab=_bytes(*bert), merges=[])
        config = transformers.DebertaConfig(
            vocab_size=len(tokenizer),
            relative_attention=True,
            pos_att_type=["c2p", "p2c"],
            position_biased_input=False,
            **SIZES,
        )
    else:
        tokenizer = transformers.DebertaV2Tokenizer(vocab=_unigrams(*bert))
        config = transformers.DebertaV2Config(
            vocab_size=len(tokenizer),
            relative_attention=True,
            pos_att_type=["p2c", "c2p"],
            position_buckets=8,
            norm_rel_ebd="layer_norm",
            share_att_key=True,
            position_biased_input=False,
            **SIZES,
        )
    return tokenizer, config


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A folder with a tiny random encoder of a family; read only."""

    @cache
    def build(family: str) -> Path:
        folder = tmp_path_factory.mktemp(family)
        tokenizer, config = _parts(family)
        torch.manual_seed(0)
        transformers.AutoModel.from_config(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return build


@pytest.fixture(scope="session", params=FAMILIES)
def any_backbone(
    request: pytest.FixtureRequest, encoder_folder: Callable[[str], Path]
) -> Backbone:
    """A tiny random encoder, once per family."""
    return load_backbone(str(encoder_folder(request.param)))


@pytest.fixture(scope="session")
def bert(encoder_folder: Callable[[str], Path]) -> Backbone:
    """A tiny random BERT."""
    return load_backbone(str(encoder_folder("bert")))


@pytest.fixture(scope="session")
def cpu() -> Hardware:
    """What all tests compute on."""
    return Hardware(torch.device("cpu"), "float32")


# --- tasks and data


@pytest.fixture(scope="session")
def make_task() -> Callable[..., Task]:
    """Builds a catalogue record of a kind, with changes."""

    def build(kind: str, **changes: object) -> Task:
        record: dict[str, object] = {
            "name": f"toy_{kind}",
            "kind": kind,
            "domain": "general",
            "role": "both",
            "title": f"Toy {kind}",
            "languages": ["eng", "swa", "yor"],
            "labels": LABELS.get(kind, ()),
            "metric": METRICS.get(kind, "accuracy"),
            "licence": "none",
            "urls": {"data": "here", "licence": "here"},
            "files": [f"{kind}/{{language}}/{{split}}.txt"],
        }
        return Task.model_validate(record | changes)

    return build


def _sentence(draw: random.Random) -> list[tuple[str, str]]:
    """Words and their parts of speech."""
    words = [(draw.choice(PEOPLE), "PROPN")]
    for _ in range(draw.randint(1, 2)):
        words += [(draw.choice(VERBS), "VERB"), (draw.choice(NOUNS), "NOUN")]
    return [*words, (draw.choice(PLACES), "PROPN")]


@pytest.fixture(scope="session")
def toy_columns() -> Callable[..., dict[str, list[Any]]]:
    """The columns of a split of a kind: `(kind, examples, seed=0)`."""

    def build(kind: str, examples: int, seed: int = 0) -> dict[str, list[Any]]:
        draw = random.Random(seed)
        sentences = [_sentence(draw) for _ in range(examples)]
        tokens = [[word for word, _ in sentence] for sentence in sentences]
        texts = [" ".join(words) for words in tokens]
        if kind == "ner":
            types = dict.fromkeys(PEOPLE, "B-PER") | dict.fromkeys(PLACES, "B-LOC")
            return {"tokens": tokens, "tags": [[types.get(w, "O") for w in x] for x in tokens]}
        if kind == "pos":
            return {"tokens": tokens, "tags": [[tag for _, tag in x] for x in sentences]}
        if kind == "similarity":
            scores = [draw.uniform(0, 5) for _ in texts]
            return {"text_a": texts, "text_b": texts[::-1], "score": scores}
        if kind == "mlm":
            return {"text": texts}
        labels = LABELS[kind]
        return {"text": texts, "label": [labels[len(x) % len(labels)] for x in tokens]}

    return build


@pytest.fixture(scope="session")
def write_split() -> Callable[[Path, Mapping[str, Sequence[Any]]], None]:
    """Writes columns as a corpus file: token TAB tag, or a table with a header."""

    def write(file: Path, columns: Mapping[str, Sequence[Any]]) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        if "tags" in columns:
            blocks = [
                "".join(f"{token}\t{tag}\n" for token, tag in zip(tokens, tags, strict=True))
                for tokens, tags in zip(columns["tokens"], columns["tags"], strict=True)
            ]
            file.write_text("\n".join(blocks), encoding="utf-8")
            return
        rows = [list(columns), *zip(*columns.values(), strict=True)]
        lines = ["\t".join(map(str, row)) + "\n" for row in rows]
        file.write_text("".join(lines), encoding="utf-8")

    return write


@pytest.fixture(scope="session")
def make_stage() -> Callable[..., Stage]:
    """Builds a short stage, with changes."""

    def build(task: str = "toy_ner", **changes: Any) -> Stage:
        fields: dict[str, Any] = {
            "epochs": 1,
            "learning_rate": 1e-3,
            "batch_size": 4,
            "examples": 8,
            "warmup_ratio": 0.1,
            "max_length": 64,
            "schedule": Schedule.LINEAR,
        }
        return Stage(task, **fields | changes)

    return build
