"""One training run, whatever is trained: resumed where it stopped, logged, judged, kept."""

import logging
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.utils.data import Dataset
from transformers import EarlyStoppingCallback, TrainerCallback, TrainingArguments

from bot.generator.loading import quiet
from bot.training.callbacks import Clock, Interruption
from bot.training.disk import Reserve, last_whole_checkpoint, remove_broken_checkpoints
from bot.training.errors import TrainingError
from bot.training.numbers import pick_training_dtype, training_device
from bot.training.optimizer import MuonWithAdamW
from bot.training.processes import backend, is_first, processes
from bot.training.settings import RunSettings
from bot.training.trainer import Batch, Objective, OrderedTrainer, reserve_bytes
from bot.training.training_log import TrainingLog, draw

log = logging.getLogger(__name__)

LOG_EVERY_STEPS = 50


def run(
    objective: Objective,
    model: nn.Module,
    batches: Dataset[Batch],
    held_out: Dataset[Batch],
    settings: RunSettings,
    optimizer: Optimizer | None = None,
) -> None:
    """Train, resuming from the last checkpoint; the model ends with the weights of least held-out loss.

    Raises TrainingError for a run that cannot start or that ended early; then it can be resumed.
    """
    if _length(batches) == 0:
        raise TrainingError("There is nothing to train on: give at least one --corpus NAME=WEIGHT above 0.")
    dtype = _autocast_dtype(model, settings)
    if settings.gradient_checkpointing:
        network: Any = model
        network.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    out, clock, interruption = settings.out, Clock(settings.out, settings.minutes), Interruption()
    reserve = Reserve(out, reserve_bytes(model))
    if is_first():
        remove_broken_checkpoints(out)
        reserve.take()
    trainer = OrderedTrainer(
        objective=objective,
        settings=settings,
        dtype=dtype,
        clock=clock,
        reserve=reserve,
        model=model,
        args=_arguments(settings),
        train_dataset=batches,
        eval_dataset=held_out,
        data_collator=lambda items: items[0],  # an item is a whole batch
        optimizers=(optimizer or MuonWithAdamW(model, settings.learning_rate, settings.weight_decay), None),
        callbacks=[clock, interruption, TrainingLog(out, of_tokens=objective.of_tokens), *_patience(settings)],
    )
    try:
        with quiet():
            _train(trainer, settings)
    finally:
        interruption.restore()
        if is_first():
            reserve.release()
    if interruption.asked:
        raise TrainingError(
            f"Stopped at step {trainer.state.global_step}, which is kept. Start the same command again to go on."
        )
    if is_first():
        draw(out)


def save_halved(model: Any, settings: RunSettings) -> None:
    """Write a model's numbers in float16: half the size, and inference widens them again."""
    if is_first():
        with quiet():
            model.half().save_pretrained(settings.out)


def _train(trainer: OrderedTrainer, settings: RunSettings) -> None:
    last = last_whole_checkpoint(settings.out)
    if last is not None:
        log.info("training_resumed", extra={"checkpoint": last.name})
    network: Any = trainer.model
    config = network.config
    keeps_cache = getattr(config, "use_cache", False)
    config.use_cache = False  # keys and values are for writing, not for learning
    try:
        trainer.train(resume_from_checkpoint=None if last is None else str(last))
    finally:
        config.use_cache = keeps_cache


def _autocast_dtype(model: nn.Module, settings: RunSettings) -> torch.dtype:
    """Float32 for a model whose own weights are in 16 bits: they are multiplied as they are."""
    wanted = pick_training_dtype(settings.dtype, training_device())
    halved = any(parameter.dtype in (torch.bfloat16, torch.float16) for parameter in model.parameters())
    return torch.float32 if halved else wanted


def _patience(settings: RunSettings) -> list[TrainerCallback]:
    return [] if settings.patience is None else [EarlyStoppingCallback(settings.patience)]


def _arguments(settings: RunSettings) -> TrainingArguments:
    device = training_device()
    arguments = TrainingArguments(
        output_dir=str(settings.out),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=1,
        per_device_eval_batch_size=1,
        gradient_accumulation_steps=settings.accumulate,
        fp16=pick_training_dtype(settings.dtype, device) is torch.float16,  # its gradients have to be scaled
        use_cpu=device.type == "cpu",
        ddp_backend=backend(),
        ddp_find_unused_parameters=False,
        max_grad_norm=1.0,
        logging_steps=min(LOG_EVERY_STEPS, settings.evaluate_every_steps),
        eval_strategy="steps",
        eval_steps=settings.evaluate_every_steps,
        save_strategy="steps",
        save_steps=settings.evaluate_every_steps,
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        restore_callback_states_from_checkpoint=settings.patience is not None,
        include_num_input_tokens_seen="all",
        prediction_loss_only=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        disable_tqdm=not is_first(),
        report_to=[],
        seed=settings.seed,
    )
    if arguments.device.type == "cuda" and arguments.n_gpu > 1 and processes() == 1:
        log.warning("one_gpu_of_several", extra={"gpus": arguments.n_gpu})
        arguments._n_gpu = 1  # several are for torchrun; threads in one process are slower than one GPU alone
    return arguments


def _length(dataset: Any) -> int:
    return len(dataset)
