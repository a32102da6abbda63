"""Which language a text is in, by py3langid (a fork of langid.py; Lui and Baldwin 2012)."""

from collections.abc import Iterable
from functools import cache
from typing import Any

from bot.training.errors import TrainingError

SURE = 0.8
"""Probability from which a guess counts; of a few short words none does."""


def language_of(text: str) -> str | None:
    """The language's code (ISO 639); None where the text is too short or too mixed to tell. Raises TrainingError
    where the library is not installed."""
    language, probability = _identifier().classify(text)
    return str(language) if probability >= SURE else None


def check_languages(codes: Iterable[str]) -> None:
    """Raises TrainingError for a code that no text would ever get."""
    known = set(_identifier().nb_classes)
    for code in codes:
        if code not in known:
            raise TrainingError(f"There is no language {code!r}. Write its code: en, de, es, fr, ru, zh, ...")


@cache
def _identifier() -> Any:
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError as error:
        raise TrainingError("To tell languages needs one more package: pip install 'banter[train]'.") from error
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
