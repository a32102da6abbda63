"""NIST and BLEU as NIST's own script mteval-v14c.pl computes them, on its tokens, without any of its options.

NIST: Doddington 2002. BLEU: Papineni et al. 2002, smoothed. No library agrees with the script on NIST, and all
published tables of DialoGPT use it.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

ORDERS = 5

_MARKS = re.compile(r"([!\"#$%&()*+/:;<=>?@\[\\\]^_`{|}~])")
_LOWER = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")

Gram = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Scores:
    """Cumulative scores of order 1 to 5, of a whole set of lines."""

    nist: tuple[float, ...]
    bleu: tuple[float, ...]


def tokenise(text: str) -> list[str]:
    """The script's tokens. Only A-Z are lower-cased, and a word that begins as a link stays as it is."""
    tokens: list[str] = []
    for word in text.replace("&", " ").replace("<", " ").split():
        if word.startswith(("http://", "https://")):
            tokens.append(word)
            continue
        padded = _MARKS.sub(r" \1 ", f" {word} ".translate(_LOWER))
        padded = re.sub(r"([^0-9])([.,])", r"\1 \2 ", padded)
        padded = re.sub(r"([.,])([^0-9])", r" \1 \2", padded)
        padded = re.sub(r"([0-9])(-)", r"\1 \2 ", padded)
        tokens += padded.split()
    return tokens


def score(lines: Iterable[tuple[Sequence[str], Sequence[Sequence[str]]]]) -> Scores:
    """Of (hypothesis tokens, the tokens of each reference column) for every line; all lines have as many columns."""
    counted = [(list(hypothesis), [list(one) for one in references]) for hypothesis, references in lines]
    information = _information(reference for _, references in counted for reference in references)
    matches, candidates, gained = [0] * ORDERS, [0] * ORDERS, [0.0] * ORDERS
    words = closest = column_words = 0
    columns = max((len(references) for _, references in counted), default=1)
    for hypothesis, references in counted:
        words += len(hypothesis)
        column_words += sum(map(len, references))
        closest += min((abs(len(one) - len(hypothesis)), len(one)) for one in references)[1]
        for order in range(1, ORDERS + 1):
            said = _grams(hypothesis, order)
            allowed: Counter[Gram] = Counter()
            for reference in references:
                allowed |= _grams(reference, order)
            clipped = said & allowed
            matches[order - 1] += clipped.total()
            candidates[order - 1] += said.total()
            gained[order - 1] += sum(information[gram] * count for gram, count in clipped.items())
    return Scores(
        nist=_nist(gained, candidates, words, column_words / columns), bleu=_bleu(matches, candidates, words, closest)
    )


def _information(references: Iterable[Sequence[str]]) -> dict[Gram, float]:
    """Bits that each n-gram's last word adds, over all reference columns together."""
    counts: Counter[Gram] = Counter()
    words = 0
    for reference in references:
        words += len(reference)
        for order in range(1, ORDERS + 1):
            counts.update(_grams(reference, order))
    # The script asks whether the prefix is true, and to Perl the word 0 is not.
    return {
        gram: math.log2((words if gram[:-1] in ((), ("0",)) else counts[gram[:-1]]) / count)
        for gram, count in counts.items()
    }


def _nist(gained: Sequence[float], candidates: Sequence[int], words: int, reference_words: float) -> tuple[float, ...]:
    ratio = words / reference_words if reference_words else 0.0
    penalty = 1.0
    if ratio <= 0:
        penalty = 0.0
    elif ratio < 1:
        penalty = math.exp(math.log(0.5) / math.log(1.5) ** 2 * math.log(ratio) ** 2)
    total, scores = 0.0, []
    for gain, possible in zip(gained, candidates, strict=True):
        total += gain / max(possible, 1)
        scores.append(total * penalty)
    return tuple(scores)


def _bleu(matches: Sequence[int], candidates: Sequence[int], words: int, closest: int) -> tuple[float, ...]:
    if words == 0:
        return (0.0,) * ORDERS
    brevity = min(0.0, 1 - closest / words)
    logs, halvings, scores = 0.0, 0, []
    for order, (hits, possible) in enumerate(zip(matches, candidates, strict=True), start=1):
        precision = 1.0
        if possible and hits:
            precision = hits / possible
        elif possible:
            halvings += 1
            precision = 1 / (2**halvings * possible)
        logs += math.log(precision)
        scores.append(math.exp(logs / order + brevity))
    return tuple(scores)


def _grams(tokens: Sequence[str], order: int) -> Counter[Gram]:
    return Counter(tuple(tokens[start : start + order]) for start in range(len(tokens) - order + 1))
