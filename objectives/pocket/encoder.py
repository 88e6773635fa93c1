"""The pocket encoder's tokenizer and shape; its weights are in `objectives.pocket.weights`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from objectives.pocket.languages import FUNCTION_WORDS, LANGUAGES, in_greek, lexicon

MAX_LENGTH = 128
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_DIGITS, _MARKS = "0123456789", ".,-/§"


@dataclass(frozen=True)
class Morpheme:
    """What a sub-word says.

    Attributes:
        meaning: Name that all sub-words of one meaning share, in whichever language.
        kinds: Names of the groups of morphemes that it is one of.
    """

    meaning: str
    kinds: tuple[str, ...]


@cache
def pocket_morphemes() -> Mapping[str, Morpheme]:
    """Sub-word -> what it says, of all lexicons; `##` begins those within a word."""
    found: dict[str, Morpheme] = {}
    for code in LANGUAGES:
        words = lexicon(code)
        for concept, stem in words.stems.items():
            kind, group, *number = concept.split(".")
            kinds = (kind, f"{kind}.{group}") if number else (kind,)
            form = in_greek(stem) if concept in words.greek else stem
            found.setdefault(form, Morpheme(concept, kinds))
        for group, glosses in FUNCTION_WORDS.items():
            for gloss in glosses:
                found.setdefault(words.function_words[gloss], Morpheme(gloss, (group,)))
        spellings = (str, in_greek) if words.greek else (str,)
        for name, affix in words.inflections.items():
            found.setdefault(affix, Morpheme(name, ("inflection",)))
            for spelt in spellings:
                found.setdefault(f"##{spelt(affix)}", Morpheme(name, ("inflection",)))
        for group, endings in words.endings.items():
            for i, ending in enumerate(endings):
                morpheme = Morpheme(f"{group}.{i}", ("ending", f"ending.{group}"))
                for spelt in spellings:
                    found.setdefault(f"##{spelt(ending)}", morpheme)
    for kind, characters in (("digit", _DIGITS), ("mark", _MARKS)):
        for character in characters:
            found |= dict.fromkeys((character, f"##{character}"), Morpheme(character, (kind,)))
    return found


@cache
def pocket_vocabulary() -> tuple[str, ...]:
    """Sub-words in the order of their ids: special ones, characters, then morphemes.

    Every character also stands alone, so that no word made of these letters is unknown.
    """
    morphemes = pocket_morphemes()
    characters = sorted({c for morpheme in morphemes for c in morpheme.removeprefix("##")})
    pieces = [*characters, *(f"##{c}" for c in characters), *morphemes]
    return tuple(dict.fromkeys((*_SPECIAL, *pieces)))


def pocket_tokenizer() -> PreTrainedTokenizerFast:
    """A lower-casing WordPiece tokenizer like BERT's, over the morphemes of all languages."""
    vocabulary = {piece: i for i, piece in enumerate(pocket_vocabulary())}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=MAX_LENGTH,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def pocket_config() -> BertConfig:
    """Two layers: small enough that a stage takes seconds on a CPU."""
    return BertConfig(
        vocab_size=len(pocket_vocabulary()),
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=256,
        max_position_embeddings=MAX_LENGTH,
        # BERT's 0.02 suits a width of 768; narrow layers learn faster from larger weights.
        initializer_range=0.05,
        pad_token_id=0,
    )


def save_untrained_encoder(folder: Path) -> None:
    """Write an encoder of one narrow layer, always the same: a trial with it takes a second.

    It knows nothing, which does where it matters that a study runs, not what it finds.
    """
    config = BertConfig(
        vocab_size=len(pocket_vocabulary()),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=16,
        max_position_embeddings=MAX_LENGTH,
        initializer_range=0.5,
        pad_token_id=0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder = BertModel(config)
    encoder.save_pretrained(folder)
    pocket_tokenizer().save_pretrained(folder)
