"""The library's Trainer for batches of our own: what a loss is divided by, and what happens when room runs out."""

import logging
import shutil
from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import Dataset, Sampler, SequentialSampler
from transformers import Trainer

from bot.generator.loading import is_out_of_memory
from bot.training.callbacks import Clock
from bot.training.disk import Reserve, is_disk_full, last_whole_checkpoint
from bot.training.errors import TrainingError
from bot.training.numbers import computing_in
from bot.training.processes import is_first, processes
from bot.training.schedule import share_of_rate
from bot.training.settings import RunSettings

log = logging.getLogger(__name__)

Batch = dict[str, Tensor]


class Objective(Protocol):
    """What a model learns from a batch. An item is what the loss is a mean of: a token, or a pair of replies."""

    @property
    def of_tokens(self) -> bool:
        """Whether items are tokens, so that the loss has a perplexity."""

    def total_loss(self, model: Any, batch: Batch) -> Tensor:
        """The sum over all items of the batch, ()."""

    def items(self, batch: Batch) -> int:
        """How many there are, at least 1."""

    def halves(self, batch: Batch) -> tuple[Batch, ...]:
        """Two smaller batches with the same items; the batch alone if it cannot be divided."""


class OrderedTrainer(Trainer):
    """A Trainer whose dataset consists of whole batches, taken in their order.

    The loss of a step is the mean over the items of all its batches on all devices, each item counted once, and so is
    the held-out loss: neither depends on how items fall into batches.
    """

    loss_is_scaled_for_ga = True

    def __init__(
        self,
        *,
        objective: Objective,
        settings: RunSettings,
        dtype: torch.dtype,
        clock: Clock,
        reserve: Reserve,
        eval_dataset: Dataset[Batch],
        **kwargs: Any,
    ) -> None:
        super().__init__(eval_dataset=eval_dataset, **kwargs)
        self._objective = objective
        self._settings = settings
        self._dtype = dtype
        self._clock = clock
        self._reserve = reserve
        self._held_out_items = _mean_items(objective, eval_dataset)
        self._most_numbers: int | None = None

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> LambdaLR:
        """The learning rate of every step of the run."""
        settings = self._settings
        if self.lr_scheduler is None:
            stepped: Any = optimizer or self.optimizer
            self.lr_scheduler = LambdaLR(
                stepped,
                lambda step: share_of_rate(
                    settings.schedule, step, settings.warm_up_steps, self._clock.left(step, num_training_steps)
                ),
            )
        return self.lr_scheduler

    def get_batch_samples(
        self, epoch_iterator: Iterator[Batch], num_batches: int, device: torch.device
    ) -> tuple[list[Batch], Tensor]:
        """The batches of one step of this process, and the items of all processes."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        items = torch.tensor(sum(map(self._objective.items, batches)), device=device)
        if processes() > 1:
            items = self.accelerator.gather(items).sum()
        return batches, items

    def compute_loss(
        self, model: Any, inputs: Batch, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The batch's part of the mean over the step's items, or over the held-out items."""
        module: nn.Module = self.accelerator.unwrap_model(model)
        with computing_in(self._dtype, inputs["input_ids"].device):
            total = _through(model, module, inputs, self._objective)
        # Gradients are averaged over processes, not added; held-out losses over batches.
        share = processes() / num_items_in_batch if model.training else 1 / self._held_out_items
        loss = total * share
        return (loss, {}) if return_outputs else loss

    def training_step(self, model: nn.Module, inputs: Batch, num_items_in_batch: Any = None) -> Tensor:
        """Compute the gradient of a batch, in halves where the device has no room for it."""
        if self._most_numbers is None or inputs["input_ids"].numel() <= self._most_numbers:
            try:
                return super().training_step(model, inputs, num_items_in_batch)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            # Out of the clause above, whose error holds on to what was computed.
            self._make_room(model, inputs)
        halves = self._objective.halves(inputs)
        if len(halves) < 2:
            return super().training_step(model, inputs, num_items_in_batch)
        losses = [self.training_step(model, half, num_items_in_batch) for half in halves]
        return torch.stack(losses).sum()

    def _make_room(self, model: nn.Module, inputs: Batch) -> None:
        if processes() > 1 or len(self._objective.halves(inputs)) < 2:
            raise TrainingError(
                f"There is not enough memory for {inputs['input_ids'].numel()} tokens at once. Lower --batch-tokens "
                "(and raise --accumulate by the same factor), shorten --max-tokens, or add --gradient-checkpointing. "
                "The run goes on from its last checkpoint."
            )
        self._most_numbers = inputs["input_ids"].numel() - 1
        log.warning("batch_halved", extra={"tokens": inputs["input_ids"].numel()})
        # The backward pass may have ended half-way. Where batches are accumulated, the step loses the earlier ones.
        model.zero_grad()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        batches: Any = self.train_dataset
        return SequentialSampler(batches)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """When the disk is full, the reserve makes room for what was computed, and the run ends."""
        try:
            super()._save_checkpoint(model, trial)
        except Exception as error:  # each library that writes has its own class for a full disk
            if not is_disk_full(error) or not is_first():
                raise
            raise TrainingError(self._saved_in_reserve(model, trial)) from error

    def _saved_in_reserve(self, model: nn.Module, trial: Any) -> str:
        out = self._settings.out
        shutil.rmtree(out / f"checkpoint-{self.state.global_step}", ignore_errors=True)
        self._reserve.release()
        try:
            super()._save_checkpoint(model, trial)
        except Exception as error:  # as above
            if not is_disk_full(error):
                raise
            shutil.rmtree(out / f"checkpoint-{self.state.global_step}", ignore_errors=True)
        kept = last_whole_checkpoint(out)
        return (
            f"{out}: the disk is full at step {self.state.global_step}. "
            f"{'Nothing could be kept' if kept is None else f'{kept.name} is kept'}. "
            "Make room and start the same command again: it goes on from there."
        )


def _through(wrapper: Any, module: Any, batch: Batch, objective: Objective) -> Tensor:
    """The loss as the forward pass of `module`, which a wrapper for several processes must see to share gradients."""
    if wrapper is module:
        return objective.total_loss(module, batch)
    forward = module.forward

    def redirected(**read: Tensor) -> Tensor:
        module.forward = forward
        return objective.total_loss(module, read)

    module.forward = redirected
    try:
        loss: Tensor = wrapper(**batch)
    finally:
        module.forward = forward
    return loss


def _mean_items(objective: Objective, batches: Any) -> float:
    numbers = [objective.items(batches[number]) for number in range(len(batches))]
    return sum(numbers) / len(numbers)


def reserve_bytes(model: nn.Module) -> int:
    """What a checkpoint of this model takes at most: its trained weights and two numbers of the optimizer for each."""
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    return 12 * trained + 2_000_000
