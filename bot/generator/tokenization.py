"""Byte-pair tokenizers from a checkpoint's directory, and the one safe way to encode what people wrote."""

import json
from pathlib import Path

from tokenizers import AddedToken, Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel

from bot.generator.errors import CheckpointError

END_OF_TEXT = "<|endoftext|>"


def load_tokenizer(directory: Path) -> Tokenizer:
    """Read `tokenizer.json`, or GPT-2's older pair `vocab.json` and `merges.txt`. Raises CheckpointError."""
    whole = directory / "tokenizer.json"
    vocabulary, merges = directory / "vocab.json", directory / "merges.txt"
    try:
        if whole.is_file():
            return _literal(Tokenizer.from_file(str(whole)))
        if vocabulary.is_file() and merges.is_file():
            return _literal(_from_vocabulary(vocabulary, merges))
    except Exception as error:  # the tokenizers library raises bare Exception for a file it cannot read
        raise CheckpointError(f"{directory}: the tokenizer files cannot be read ({error}). Copy them again.") from error
    raise CheckpointError(
        f"{directory}: there is no tokenizer. A checkpoint needs tokenizer.json, or vocab.json and merges.txt."
    )


def _from_vocabulary(vocabulary: Path, merges: Path) -> Tokenizer:
    tokenizer = Tokenizer(BPE.from_file(str(vocabulary), str(merges)))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    if END_OF_TEXT in json.loads(vocabulary.read_text(encoding="utf-8")):
        tokenizer.add_special_tokens([AddedToken(END_OF_TEXT, special=True, normalized=False)])
    return tokenizer


def _literal(tokenizer: Tokenizer) -> Tokenizer:
    """Special tokens inside a text are text; nothing is cut, padded or added behind our back."""
    tokenizer.encode_special_tokens = True
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def control_ids_of(tokenizer: Tokenizer) -> frozenset[int]:
    """Every added token's id: none of them is ever plain text in the families we know."""
    return frozenset(tokenizer.get_added_tokens_decoder())


def encode_text(tokenizer: Tokenizer, text: str, control_ids: frozenset[int]) -> list[int]:
    """Encode what somebody wrote so that no id of it is a control id.

    The tokenizer splits special tokens already, but it misses added tokens that are not marked special and names
    that normalisation produces. So the ids are checked, and around a control id the text is encoded in two pieces.
    """
    encoding = tokenizer.encode(text, add_special_tokens=False)
    for token_id, (start, end) in zip(encoding.ids, encoding.offsets, strict=True):
        if token_id in control_ids:
            # Cutting after the name's first character breaks it; a name of one character is dropped.
            cut = start + 1 if end - start > 1 else start
            rest = cut if end - start > 1 else max(end, start + 1)
            return [
                *encode_text(tokenizer, text[:cut], control_ids),
                *encode_text(tokenizer, text[rest:], control_ids),
            ]
    return list(encoding.ids)
