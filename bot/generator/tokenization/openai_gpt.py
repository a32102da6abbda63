"""The tokenizer of the first GPT: lower-cased words in byte-pair pieces, `</w>` at a word's end (Radford et al. 2018).

What its 40,478 pieces cannot spell becomes `<unk>`. That is text of no meaning rather than structure, so `<unk>` is no
control id here: people's text may hold it. A reply never shows it.
"""

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.decoders import BPEDecoder
from tokenizers.models import BPE
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from bot.generator.tokenization.hub import HubTokenizer, read_backend

_UNKNOWN = "<unk>"
_WORD_END = "</w>"


class OpenAIGPTTokenizer(HubTokenizer):
    """See `bot.generator.tokenization.base.TextTokenizer`."""

    def __init__(self, backend: Tokenizer) -> None:
        super().__init__(backend)
        unknown = backend.token_to_id(_UNKNOWN)
        self._unknown = frozenset(() if unknown is None else (int(unknown),))
        self.control_ids = self.control_ids - self._unknown

    def decode(self, ids: Sequence[int]) -> str:
        """See `TextTokenizer.decode`; `<unk>` is left out."""
        return super().decode([token for token in ids if token not in self._unknown])


def load_openai_gpt_tokenizer(directory: Path) -> OpenAIGPTTokenizer:
    """Read `tokenizer.json`, or `vocab.json` and `merges.txt`; added tokens are not read. Raises CheckpointError."""
    return OpenAIGPTTokenizer(read_backend(directory, _from_vocabulary))


def _from_vocabulary(vocabulary: Path, merges: Path) -> Tokenizer:
    tokenizer = Tokenizer(
        BPE.from_file(str(vocabulary), str(merges), unk_token=_UNKNOWN, end_of_word_suffix=_WORD_END, fuse_unk=False)
    )
    tokenizer.normalizer = BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.decoder = BPEDecoder(suffix=_WORD_END)
    return tokenizer
