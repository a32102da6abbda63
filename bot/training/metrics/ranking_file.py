"""Figures of a file of ready scores: `contexts` with positive and negative replies, and `pairs`."""

from pathlib import Path
from typing import Any

from bot.training.errors import TrainingError
from bot.training.metrics.files import list_at, numbers, read_json
from bot.training.metrics.ranking import Judged, hits, hits_at, mean_reciprocal_rank, pair_accuracy

_CONTEXTS = '{"contexts": [{"positive": [0.9], "negative": [0.2, 0.4]}]}'
_PAIRS = '{"pairs": [[0.9, 0.2]]}, the positive first'
_PRINTED_DIGITS = 3


def ranking_figures(file: Path) -> dict[str, Any]:
    """DialogRPT's hits@k and pair accuracy, in full and as its code prints them, and the common figures of retrieval.

    Those (`single_positive`) are of the contexts with one positive reply. What the file has no scores for is None.
    Raises TrainingError.
    """
    content = read_json(file)
    has = content if isinstance(content, dict) else {}
    if "contexts" not in has and "pairs" not in has:
        raise TrainingError(f"{file}: contexts: there are none, and no pairs. Write {_CONTEXTS}.")
    contexts = _contexts(file, content) if "contexts" in has else []
    pairs = _pairs(file, content) if "pairs" in has else []
    share = hits(contexts) if contexts else None
    accuracy = pair_accuracy(pairs) if pairs else None
    return {
        "dialogrpt_hits_at_k": share,
        "dialogrpt_hits_at_k_printed": _printed(share),
        "dialogrpt_pair_accuracy": accuracy,
        "dialogrpt_pair_accuracy_printed": _printed(accuracy),
        "single_positive": _retrieval([one for one in contexts if len(one.positive) == 1]),
    }


def _retrieval(contexts: list[Judged]) -> dict[str, Any]:
    return {
        "contexts": len(contexts),
        **{f"hits@{k}": hits_at(contexts, k) if contexts else None for k in (1, 3, 5)},
        "mrr": mean_reciprocal_rank(contexts) if contexts else None,
    }


def _contexts(file: Path, content: Any) -> list[Judged]:
    judged = []
    for number, one in enumerate(list_at(file, content, "contexts", _CONTEXTS)):
        here = f"{file}: contexts[{number}]"
        if not isinstance(one, dict):
            raise TrainingError(f"{here}: an object with positive and negative is needed.")
        positive, negative = (numbers(f"{here}.{key}", one.get(key)) for key in ("positive", "negative"))
        if not positive:
            raise TrainingError(f"{here}.positive: at least one score is needed.")
        judged.append(Judged(positive, negative))
    return judged


def _pairs(file: Path, content: Any) -> list[tuple[float, float]]:
    pairs = []
    for number, one in enumerate(list_at(file, content, "pairs", _PAIRS)):
        scores = numbers(f"{file}: pairs[{number}]", one)
        if len(scores) != 2:
            raise TrainingError(f"{file}: pairs[{number}]: two scores are needed, the positive first.")
        pairs.append((scores[0], scores[1]))
    return pairs


def _printed(figure: float | None) -> float | None:
    return None if figure is None else round(figure, _PRINTED_DIGITS)
