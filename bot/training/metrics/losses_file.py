"""Figures of a file of ready losses: `batches` of rows of natural-logarithm losses, one a token."""

from pathlib import Path
from typing import Any

from bot.training.errors import TrainingError
from bot.training.metrics.files import list_at, numbers, read_json
from bot.training.metrics.perplexity import (
    RowLoss,
    dialogpt_loss,
    dialogpt_perplexity,
    in_batches_of,
    token_loss,
    token_perplexity,
)

_EXAMPLE = '{"batches": [[[1.9, 3.4], [2.7]]]}: batches of rows of losses'
_LARGEST = 700.0
"""exp of more than this is beyond any number; no cross entropy comes near."""


def loss_figures(file: Path) -> dict[str, Any]:
    """Loss and perplexity by token, and DialoGPT's, which depend on the batches, for several sizes of these.

    Rows without a token (the original makes NaN of them) are left out; `rows_left_out` counts them. Raises
    TrainingError.
    """
    found = [_batch(f"{file}: batches[{number}]", one) for number, one in enumerate(_batches(file))]
    batches = [kept for rows in found if (kept := [RowLoss.of(row) for row in rows if row])]
    left_out = sum(not row for rows in found for row in rows)
    if not batches:
        raise TrainingError(f"{file}: batches: no row has a loss.")
    rows = sum(map(len, batches))
    whole = dialogpt_perplexity(in_batches_of(batches, rows))
    alone = dialogpt_perplexity(in_batches_of(batches, 1))
    return {
        "dialogpt_loss": dialogpt_loss(batches),
        "dialogpt_ppl": dialogpt_perplexity(batches),
        "token_ppl": token_perplexity(batches),
        "token_loss": token_loss(batches),
        "rows_ppl": whole,
        "mean_of_row_ppl": alone,
        "dialogpt_ppl_batch_1": alone,
        "dialogpt_ppl_batch_4": dialogpt_perplexity(in_batches_of(batches, 4)),
        "dialogpt_ppl_batch_all": whole,
        "rows": rows,
        "tokens": sum(row.tokens for batch in batches for row in batch),
        "rows_left_out": left_out,
    }


def _batches(file: Path) -> list[Any]:
    return list_at(file, read_json(file), "batches", _EXAMPLE)


def _batch(where: str, found: Any) -> list[list[float]]:
    if not isinstance(found, list):
        raise TrainingError(f"{where}: a list of rows is needed.")
    return [numbers(f"{where}[{number}]", row, at_most=_LARGEST) for number, row in enumerate(found)]
