"""The pocket encoder: its tokenizer and its shape; its weights come from a pretraining stage."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from objectives.pocket.languages import LANGUAGES, in_greek, lexicon

MAX_LENGTH = 128
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def pocket_vocabulary() -> list[str]:
    """Sub-words in the order of their ids: special ones, characters, then the lexicons' morphemes.

    Every character also stands alone, so that no word made of these letters is unknown.
    """
    whole: dict[str, None] = {}
    endings: dict[str, None] = {}
    for code in LANGUAGES:
        words = lexicon(code)
        affixes = [ending for group in words.endings.values() for ending in group]
        affixes += words.inflections.values()
        whole |= {in_greek(s) if c in words.greek else s: None for c, s in words.stems.items()}
        whole |= dict.fromkeys((*words.function_words.values(), *words.inflections.values()))
        endings |= dict.fromkeys(affixes)
        if words.greek:
            endings |= dict.fromkeys(in_greek(affix) for affix in affixes)
    characters = sorted({c for morpheme in (*whole, *endings) for c in morpheme})
    characters += [*"0123456789", *".,-/§"]
    pieces = [*characters, *(f"##{c}" for c in characters)]
    pieces += [*whole, *(f"##{ending}" for ending in endings)]
    return list(dict.fromkeys((*_SPECIAL, *pieces)))


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
    """Two layers: small enough to be pretrained on a CPU within a minute."""
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

    It has learnt nothing, which does where it matters that a study runs, not what it finds.
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
