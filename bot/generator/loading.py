"""Load a model class of transformers from a checkpoint, strictly and without running anybody's code."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from transformers import PreTrainedModel
from transformers.utils import logging as _transformers_logging

from bot.generator.checkpoints import has_safetensors
from bot.generator.damage import in_one_line, reported
from bot.generator.errors import CheckpointError
from bot.generator.formats.base import Checkpoint
from bot.generator.formats.stored import directory_weights, shapes_in

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

transformers_logging: Any = _transformers_logging  # its functions carry no annotations

ONE_THREAD_BELOW = 300_000_000
"""Weights times rows. Two threads wait for each other 150 times a step, and five times longer on a busy machine:
one reply of the starter (6 M weights, 8 rows) took 0.2 s on one thread of two shared cores, 0.7 to 1.6 s on two."""

Model = TypeVar("Model", bound=PreTrainedModel)


def pick_device(name: str) -> torch.device:
    """The device called `name`; "auto" is a GPU if there is one. Raises CheckpointError for an unusable one."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise CheckpointError(f"device {name!r} cannot be used here ({error}). Try auto or cpu.") from error
    return device


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """The number format called `name`; "auto" is float32 on a CPU, else a 16-bit one. Raises CheckpointError."""
    if name == "auto":
        if device.type == "cpu":
            return torch.float32
        bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported()
        return torch.bfloat16 if bf16 else torch.float16
    try:
        return DTYPES[name]
    except KeyError:
        raise CheckpointError(f"There is no dtype {name!r}. Known: auto, {', '.join(DTYPES)}.") from None


def load_model(family: type[Model], checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype) -> Model:
    """Every weight comes from the files and is a number, or CheckpointError. Pickled files are read as weights only."""
    with reported(checkpoint.path), quiet():
        if checkpoint.read_weights is None:
            check_fit(family, checkpoint, shapes_in(directory_weights(checkpoint.path)))
            model = _from_directory(family, checkpoint.path, dtype)
        else:
            weights = checkpoint.read_weights()
            check_fit(family, checkpoint, {name: tuple(weight.shape) for name, weight in weights.items()})
            model = _from_weights(family, checkpoint, weights, dtype)
        place: Any = model
        ready: Model = place.to(device=device, dtype=dtype).eval()
    _detach(ready)
    check_numbers(ready, checkpoint)
    return ready


def _detach(network: torch.nn.Module) -> None:
    """Copy the weights out of the file, which the libraries only map into memory: where somebody writes over a file
    that is in use, the next look at its pages would kill the process."""
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.device.type == "cpu":
            tensor.data = tensor.data.clone()


def check_numbers(network: torch.nn.Module, checkpoint: Checkpoint) -> None:
    """Raises CheckpointError for weights that are infinite or no numbers: every reply would come to nothing."""
    for name, parameter in network.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            raise CheckpointError(
                f"{checkpoint.path}: {name} holds values that are no finite numbers in {parameter.dtype}. If the file "
                "is in another format, set model.dtype to float32; otherwise its training failed: use another one."
            )


def check_vocabulary(checkpoint: Checkpoint, tokens: int, rows: int) -> None:
    """Raises CheckpointError where the tokenizer knows more tokens than the network has rows for."""
    if rows < tokens:
        raise CheckpointError(
            f"{checkpoint.path}: the tokenizer knows {tokens} tokens, the model only {rows}. The two come from "
            "different checkpoints; copy the tokenizer that belongs to the model."
        )


def check_fit(family: type[Model], checkpoint: Checkpoint, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raises CheckpointError where names or shapes of the weights are not those of the network that is configured.

    Nothing is loaded, nothing as large as the model is built: wrong sizes may be beyond all memory. In a directory of
    the hub, weights that have no place are passed over, as transformers does.
    """
    make_config: Any = family.config_class
    make_model: Any = family
    with torch.device("meta"):
        model = make_model(make_config(**checkpoint.config))
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    body = model.base_model_prefix  # a file of the bare body leaves it out
    found = {
        name if name in expected or f"{body}.{name}" not in expected else f"{body}.{name}": shape
        for name, shape in shapes.items()
    }
    wrong = [
        f"{name} is {found[name]}, config.json says {shape}"
        for name, shape in expected.items()
        if found.get(name, shape) != shape
    ]
    tied = set(model.all_tied_weights_keys)
    missing = sorted(name for name in expected if name not in found and name not in tied)
    unknown = sorted(name for name in found if name not in expected) if checkpoint.read_weights is not None else []
    if wrong or missing or unknown:
        first = wrong[0] if wrong else f"{missing[0]} is missing" if missing else f"{unknown[0]} has no place in it"
        raise CheckpointError(
            f"{checkpoint.path}: the weights do not fit a {family.__name__} of that config.json "
            f"({len(wrong) + len(missing) + len(unknown)} differences, first: {first}). "
            "Put the config.json beside the weights that belong to it."
        )


def _from_weights(
    family: type[Model], checkpoint: Checkpoint, weights: dict[str, torch.Tensor], dtype: torch.dtype
) -> Model:
    make_config: Any = family.config_class
    load: Any = family.from_pretrained  # unlike the class itself, it draws no random weights to be overwritten
    model: Model = load(None, config=make_config(**checkpoint.config), state_dict=weights, dtype=dtype)
    return model


def _from_directory(family: type[Model], directory: Path, dtype: torch.dtype) -> Model:
    try:
        load: Any = family.from_pretrained
        model: Model = load(
            directory,
            dtype=dtype,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=has_safetensors(directory),
            weights_only=True,
        )
    except Exception as error:  # a damaged file fails in any layer, and each has its own class of error
        raise CheckpointError(
            f"{directory}: the weights cannot be loaded ({in_one_line(error)}). Copy the checkpoint again."
        ) from error
    return model


@contextmanager
def quiet() -> Iterator[None]:
    """No warnings and no progress bars of the library: what matters is in our own messages."""
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)


def embedding_rows(model: PreTrainedModel) -> int:
    """How many token ids the model knows."""
    embeddings: Any = model.get_input_embeddings()
    return int(embeddings.weight.shape[0])


def weights_of(model: PreTrainedModel) -> int:
    """How many numbers the model consists of."""
    return sum(parameter.numel() for parameter in model.parameters())


@contextmanager
def threads_for(weights: int, rows: int) -> Iterator[None]:
    """Compute on one thread where more would only wait for each other; the caller's setting comes back."""
    before = torch.get_num_threads()
    if weights * rows >= ONE_THREAD_BELOW or before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out; the CPU's allocator has no class of its own for it."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(
        phrase in text for phrase in ("out of memory", "not enough memory", "can't allocate memory")
    )
