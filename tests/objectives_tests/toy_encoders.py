"""Tiny encoders of every family: their tokenizers and configurations, and the toy words."""

from __future__ import annotations

from collections.abc import Mapping
from string import ascii_lowercase
from typing import Any

import tokenizers
import torch
import transformers
from tokenizers import decoders, normalizers, pre_tokenizers, processors
from transformers import PretrainedConfig, PreTrainedTokenizerBase
from transformers.convert_slow_tokenizer import bytes_to_unicode

SIZES: dict[str, Any] = {
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "hidden_size": 32,
    "intermediate_size": 48,
    "max_position_embeddings": 66,
}
# Toy language: what a word is shows in the word, so that a few updates learn it.
PEOPLE, PLACES = ("juma", "asha", "bola"), ("mombasa", "lagos", "kisumu")
VERBS, NOUNS = ("anaenda", "anasoma", "analala"), ("mpira", "sheria", "afya")
FAMILIES = (
    *("bert", "mbert", "roberta", "xlm-roberta", "xlnet", "deberta", "deberta-v2"),
    "modernbert",
)


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


def _modernbert_tokenizer() -> PreTrainedTokenizerBase:
    """Special tokens behind all others, so that the padding's id is no position's."""
    special = ("[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]")
    vocabulary = {**_bytes(), **{name: 256 + number for number, name in enumerate(special)}}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    names = {"unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "pad": "[PAD]", "mask": "[MASK]"}
    return _modern(tokenizer, names)


def _mmbert_tokenizer() -> PreTrainedTokenizerBase:
    """As mmBERT's, which is Gemma's: a space is a letter, and none is put before a text."""
    special = ("<pad>", "<eos>", "<bos>", "<unk>", "<mask>")
    pieces = [*special, *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *ascii_lowercase, "."]
    merges = [("▁", "j"), ("▁j", "u"), ("m", "a"), ("▁ju", "ma")]
    pieces += [left + right for left, right in merges]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.BPE(
            vocab=vocabulary, merges=merges, byte_fallback=True, fuse_unk=True, unk_token="<unk>"
        )
    )
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    names = {"pad": "<pad>", "eos": "<eos>", "bos": "<bos>", "unk": "<unk>", "mask": "<mask>"}
    return _modern(tokenizer, {**names, "cls": "<bos>", "sep": "<eos>"})


def _modern(tokenizer: tokenizers.Tokenizer, names: Mapping[str, str]) -> PreTrainedTokenizerBase:
    """A tokenizer without segments, with `names` ("cls", "sep", ...) of its special tokens."""
    first, last = names["cls"], names["sep"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}",
        pair=f"{first} $A {last} $B {last}",
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in (first, last)],
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_input_names=["input_ids", "attention_mask"],
        **{f"{name}_token": token for name, token in names.items()},
    )


def louder(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """An encoder's weights, but those of its normalisations, times ten.

    As they are drawn, a tiny encoder says nearly the same of all texts: wrong places would not
    show.
    """
    return {
        name: weight * (1 if "norm" in name.lower() or not weight.is_floating_point() else 10)
        for name, weight in weights.items()
    }


def encoder_parts(family: str) -> tuple[PreTrainedTokenizerBase, PretrainedConfig]:
    """The tokenizer and the configuration of a tiny encoder of a family."""
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
    elif family in {"modernbert", "mmbert"}:
        tokenizer = _modernbert_tokenizer() if family == "modernbert" else _mmbert_tokenizer()
        config = transformers.ModernBertConfig(
            vocab_size=len(tokenizer),
            pad_token_id=tokenizer.pad_token_id,
            cls_token_id=tokenizer.cls_token_id,
            bos_token_id=tokenizer.cls_token_id,
            sep_token_id=tokenizer.sep_token_id,
            eos_token_id=tokenizer.sep_token_id,
            local_attention=8,
            **SIZES,
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
