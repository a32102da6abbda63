"""SentencePiece tokenizers (Kudo and Richardson 2018, arXiv:1808.06226) and the one safe way to encode with them."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from sentencepiece import SentencePieceProcessor

from bot.generator.damage import in_one_line
from bot.generator.errors import CheckpointError

FILE_NAME = "tokenizer.model"

# Wire format and field numbers of sentencepiece_model.proto.
_PIECES_FIELD, _TYPE_FIELD = 1, 3
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_CONTROL, _USER_DEFINED = 3, 4


class PiecesTokenizer:
    """A SentencePiece model. See `bot.generator.tokenization.base.TextTokenizer`.

    `names` are the ids that a model's configuration names ("bos_token_id"), beside the names of the pieces.
    """

    def __init__(self, model: bytes, names: Mapping[str, int]) -> None:
        """Raises RuntimeError or ValueError if the bytes are no SentencePiece model."""
        self._model = model
        self._names = dict(names)
        types = [_piece_type(piece) for piece in _pieces(model)]
        if not types:
            raise ValueError("there are no pieces in it")
        self._reader = SentencePieceProcessor(model_proto=model)
        named = frozenset(names.values())
        self.size: int = self._reader.get_piece_size()
        # A user-defined symbol that the configuration does not name is a word like others.
        self.control_ids = frozenset(
            i for i, kind in enumerate(types) if kind == _CONTROL or (kind == _USER_DEFINED and i in named)
        )
        # The library turns a user-defined symbol into its id wherever a text spells it, full-width letters included.
        # A control symbol it never does, so people's text goes through a copy in which the named ones are control ones.
        self._writer = SentencePieceProcessor(model_proto=_without_user_symbols(model, named))

    def id_of(self, token: str) -> int | None:
        """See `TextTokenizer.id_of`."""
        if token in self._names:
            return self._names[token]
        found = int(self._reader.piece_to_id(token))
        return found if self._reader.id_to_piece(found) == token else None

    def piece(self, token_id: int) -> str:
        """See `TextTokenizer.piece`."""
        return str(self._reader.id_to_piece(token_id)) if 0 <= token_id < self.size else ""

    def encode(self, text: str) -> list[int]:
        """See `TextTokenizer.encode`."""
        return [int(token_id) for token_id in self._writer.encode(text, out_type=int)]

    def decode(self, ids: Sequence[int]) -> str:
        """See `TextTokenizer.decode`: a user-defined symbol is written as its name, as the library does."""
        return str(self._reader.decode(list(ids)))

    def save(self, directory: Path) -> None:
        """Write `tokenizer.model`."""
        directory.mkdir(parents=True, exist_ok=True)
        (directory / FILE_NAME).write_bytes(self._model)


def load_pieces(file: Path, names: Mapping[str, int]) -> PiecesTokenizer:
    """Read a SentencePiece model. Raises CheckpointError."""
    try:
        tokenizer = PiecesTokenizer(file.read_bytes(), names)
    except (OSError, RuntimeError, ValueError) as error:
        reason = in_one_line(error)
        raise CheckpointError(
            f"{file}: this is no SentencePiece model that can be read ({reason}). Copy the file again."
        ) from error
    for name, token_id in names.items():
        if not 0 <= token_id < tokenizer.size:
            raise CheckpointError(
                f"{file}: the tokenizer knows {tokenizer.size} tokens, the configuration's {name} is {token_id}. "
                "The two come from different checkpoints; copy the tokenizer that belongs to the model."
            )
    return tokenizer


def _pieces(model: bytes) -> Iterator[bytes]:
    return (model[start:end] for number, _, start, end in _fields(model) if number == _PIECES_FIELD)


def _piece_type(piece: bytes) -> int | None:
    found = None
    for number, _, start, _ in _fields(piece):
        if number == _TYPE_FIELD:
            found = _varint(piece, start)[0]
    return found


def _without_user_symbols(model: bytes, ids: frozenset[int]) -> bytes:
    """The same model, the user-defined symbols among `ids` turned into control symbols."""
    parts = []
    token_id = -1
    for number, whole, start, end in _fields(model):
        token_id += number == _PIECES_FIELD
        if number == _PIECES_FIELD and token_id in ids and _piece_type(model[start:end]) == _USER_DEFINED:
            # Of a field that is there twice, the later one counts.
            piece = model[start:end] + bytes([_TYPE_FIELD << 3 | _VARINT, _CONTROL])
            parts.append(bytes([_PIECES_FIELD << 3 | _BYTES]) + _as_varint(len(piece)) + piece)
        else:
            parts.append(model[whole:end])
    return b"".join(parts)


def _fields(message: bytes) -> Iterator[tuple[int, int, int, int]]:
    """The fields of a protobuf message: number, where the field begins, where its value begins, where both end."""
    at = 0
    while at < len(message):
        whole = at
        key, at = _varint(message, at)
        start, wire = at, key & 7
        if wire == _VARINT:
            at = _varint(message, at)[1]
        elif wire == _BYTES:
            length, start = _varint(message, at)
            at = start + length
        elif wire in (_FIXED64, _FIXED32):
            at += 8 if wire == _FIXED64 else 4
        else:
            raise ValueError(f"a field of the unknown kind {wire}")
        if at > len(message):
            raise ValueError("the file ends within a field")
        yield key >> 3, whole, start, at


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(message):
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
    raise ValueError("the file ends within a number")


def _as_varint(value: int) -> bytes:
    parts = []
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])
