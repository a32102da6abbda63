"""BERT's WordPiece vocabularies, one token a line in a `vocab.txt` (Devlin et al. 2019, arXiv:1810.04805)."""

import json
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from bot.generator.errors import CheckpointError

PAD, UNKNOWN, BEGIN, SEPARATOR, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"

VOCABULARY = "vocab.txt"
_NEEDED = (PAD, UNKNOWN, BEGIN, SEPARATOR)


class WordPieceTokenizer:
    """See `bot.generator.tokenization.base.TextTokenizer`.

    Lower-cased, without accents, every Chinese character alone; a word that the vocabulary cannot spell is `[UNK]`,
    which therefore counts as text. The names of the other specials cannot come out of a text: brackets are
    punctuation, and punctuation is cut off before words are looked up.
    """

    def __init__(self, tokens: Sequence[str]) -> None:
        """`tokens` in the order of their ids. Raises CheckpointError if a special one is missing."""
        missing = [name for name in _NEEDED if name not in tokens]
        if missing:
            raise CheckpointError(
                f"The vocabulary has no {', '.join(missing)}. Give the vocab.txt that the model was trained with: "
                "one token a line, the special ones among them."
            )
        self._tokens = tuple(tokens)
        self._ids = {token: number for number, token in enumerate(tokens)}
        self.size = len(self._tokens)
        self.control_ids = frozenset(
            number for number, token in enumerate(tokens) if token in (PAD, BEGIN, SEPARATOR, MASK)
        )
        # Nothing is registered as an added token: those the library would look for inside texts.
        self._backend = Tokenizer(WordPiece(self._ids, unk_token=UNKNOWN))
        self._backend.normalizer = BertNormalizer()
        self._backend.pre_tokenizer = BertPreTokenizer()

    @classmethod
    def from_file(cls, file: Path) -> "WordPieceTokenizer":
        """Raises CheckpointError for a file that is no such vocabulary."""
        try:
            return cls(read_vocabulary(file))
        except CheckpointError as error:
            raise CheckpointError(f"{file}: {error}") from error

    def id_of(self, token: str) -> int | None:
        """See `TextTokenizer.id_of`."""
        return self._ids.get(token)

    def piece(self, token_id: int) -> str:
        """See `TextTokenizer.piece`."""
        return self._tokens[token_id] if 0 <= token_id < self.size else ""

    def encode(self, text: str) -> list[int]:
        """See `TextTokenizer.encode`."""
        return list(self._backend.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Tokens joined with nothing between them, the `##` of continuations and the names of control ids left in:
        so GPT2-chitchat writes its replies, and a name in a text is no control id when it is read again."""
        return "".join(self._tokens[i] for i in ids)

    def save(self, directory: Path) -> None:
        """Write `vocab.txt`, and for transformers the name of the class that reads it."""
        directory.mkdir(parents=True, exist_ok=True)
        (directory / VOCABULARY).write_text("".join(f"{token}\n" for token in self._tokens), encoding="utf-8")
        settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": True}
        (directory / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def read_vocabulary(file: Path) -> list[str]:
    """The lines of a vocabulary. Only line feeds end one: other separators of Unicode may be tokens.

    Raises CheckpointError if it cannot be read.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"cannot be read as UTF-8 text ({error}). Copy the file again.") from error
    return text.removesuffix("\n").split("\n")
