"""Tokenizers that the `tokenizers` library reads, and the one safe way to encode what people wrote."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from tokenizers import AddedToken, Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel

from bot.generator.errors import CheckpointError

END_OF_TEXT = "<|endoftext|>"


class HubTokenizer:
    """A tokenizer of the `tokenizers` library. See `bot.generator.tokenization.base.TextTokenizer`."""

    def __init__(self, backend: Tokenizer) -> None:
        # Special tokens inside a text are text; nothing is cut, padded or added behind our back.
        backend.encode_special_tokens = True
        backend.no_truncation()
        backend.no_padding()
        self.backend = backend
        self.size: int = backend.get_vocab_size(with_added_tokens=True)
        # No added token is ever plain text in the families we know.
        self.control_ids = frozenset(backend.get_added_tokens_decoder())

    def id_of(self, token: str) -> int | None:
        """See `TextTokenizer.id_of`."""
        found = self.backend.token_to_id(token)
        return None if found is None else int(found)

    def piece(self, token_id: int) -> str:
        """See `TextTokenizer.piece`."""
        return str(self.backend.id_to_token(token_id) or "")

    def encode(self, text: str) -> list[int]:
        """See `TextTokenizer.encode`.

        The library splits special tokens already, but it misses added tokens that are not marked special and names
        that normalisation produces. So the ids are checked, and around a control id the text is encoded in pieces.
        """
        ids: list[int] = []
        waiting = [text]
        while waiting:
            piece = waiting.pop()
            encoding = self.backend.encode(piece, add_special_tokens=False)
            spans = zip(encoding.ids, encoding.offsets, strict=True)
            names = [span for token_id, span in spans if token_id in self.control_ids]
            if names:
                waiting += reversed(_broken(piece, names))
            else:
                ids += encoding.ids
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """See `TextTokenizer.decode`."""
        text = self.backend.decode([i for i in ids if i not in self.control_ids], skip_special_tokens=False)
        return str(text)

    def save(self, directory: Path) -> None:
        """Write `tokenizer.json`, which both this project and transformers read."""
        directory.mkdir(parents=True, exist_ok=True)
        self.backend.save(str(directory / "tokenizer.json"))


def _broken(text: str, names: Sequence[tuple[int, int]]) -> list[str]:
    """A text in pieces, cut after the first character of every name; a name of one character is dropped."""
    pieces = []
    begin = 0
    for start, end in names:
        cut = start + 1 if end - start > 1 else start
        pieces.append(text[begin:cut])
        begin = cut if end - start > 1 else max(end, start + 1)
    return [*pieces, text[begin:]]


def load_tokenizer(directory: Path) -> HubTokenizer:
    """Read `tokenizer.json`, or GPT-2's older pair `vocab.json` and `merges.txt`. Raises CheckpointError."""
    return HubTokenizer(read_backend(directory, _from_vocabulary))


def read_backend(directory: Path, from_vocabulary: Callable[[Path, Path], Tokenizer]) -> Tokenizer:
    """Read `tokenizer.json`, or make a tokenizer of `vocab.json` and `merges.txt`. Raises CheckpointError."""
    whole = directory / "tokenizer.json"
    vocabulary, merges = directory / "vocab.json", directory / "merges.txt"
    try:
        if whole.is_file():
            return Tokenizer.from_file(str(whole))
        if vocabulary.is_file() and merges.is_file():
            return from_vocabulary(vocabulary, merges)
    except Exception as error:  # the tokenizers library raises bare Exception for a file it cannot read
        raise CheckpointError(f"{directory}: the tokenizer files cannot be read ({error}). Copy them again.") from error
    raise CheckpointError(
        f"{directory}: there is no tokenizer. A checkpoint needs tokenizer.json, or vocab.json and merges.txt."
    )


def _from_vocabulary(vocabulary: Path, merges: Path) -> Tokenizer:
    tokenizer = Tokenizer(BPE.from_file(str(vocabulary), str(merges)))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    known = json.loads(vocabulary.read_text(encoding="utf-8"))
    if END_OF_TEXT in known:
        tokenizer.add_special_tokens([AddedToken(END_OF_TEXT, special=True, normalized=False)])
    added = vocabulary.with_name("added_tokens.json")
    if added.is_file():
        names = json.loads(added.read_text(encoding="utf-8"))
        for name, token_id in sorted(names.items(), key=lambda pair: int(pair[1])):
            tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False)])
            if tokenizer.token_to_id(name) != token_id:
                raise ValueError(f"{added.name} gives {name} the id {token_id}, the vocabulary leads to another one")
    return tokenizer
