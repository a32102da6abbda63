"""What a dialect needs of a tokenizer, whichever library reads its files. Imports none of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol


class TextTokenizer(Protocol):
    """Text to ids and back. What somebody wrote never becomes one of `control_ids`."""

    @property
    def size(self) -> int:
        """Number of ids it knows; a model must have at least as many rows."""

    @property
    def control_ids(self) -> frozenset[int]:
        """Ids that carry structure, not text: specials, added tokens, user-defined symbols."""

    def id_of(self, token: str) -> int | None:
        """The id of exactly this token, or None."""

    def piece(self, token_id: int) -> str:
        """How the tokenizer's files write this id, a control id too; nothing for an id that it lacks."""

    def encode(self, text: str) -> list[int]:
        """Ids of a text, nothing added in front or behind; never a control id, whatever the text spells."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids as the original library writes it, control ids left out, surrounding space kept."""

    def save(self, directory: Path) -> None:
        """Write the tokenizer's files, from which the same tokenizer can be read."""
