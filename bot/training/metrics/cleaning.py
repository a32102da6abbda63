"""The clean-up of DialoGPT's published tables (`--clean` of its pipeline), step by step in its order."""

import re
from functools import cache
from typing import Any

_LINK = "__url__"
_SUFFIXES = ("'s", "'m", "'re", "n't", "'ll", "'ve", "'d", "'em")


def clean(text: str) -> str:
    """Lower-cased ASCII words and marks, links as one word, contractions apart. Letters beyond ASCII are lost."""
    text = " ".join(_without_link(word) for word in text.lower().split())
    text = re.sub(rf"\[([^\]]*)\] \( *{_LINK} *\)", r"\1", text)
    text = _LINK.join(re.sub(r"[^A-Za-z0-9():,.!?\"']", " ", part) for part in text.split(_LINK))
    text = f" {' '.join(_tokenizer().tokenize(text))} "
    text = text.replace(" won't ", " will n't ").replace(" can't ", " can n't ")
    for suffix in _SUFFIXES:
        text = text.replace(f"{suffix} ", f" {suffix} ")
    return " ".join(text.split())


def _without_link(word: str) -> str:
    place = word.find("http")
    return word if place < 0 else f"{word[:place]} {_LINK}".strip()


@cache
def _tokenizer() -> Any:
    from nltk.tokenize import TweetTokenizer

    return TweetTokenizer(preserve_case=False)
