"""In which number format a device computes while it trains."""

from contextlib import AbstractContextManager, nullcontext

import torch

from bot.training.errors import TrainingError

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "float32": torch.float32}


def training_device() -> torch.device:
    """A GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def pick_training_dtype(name: str, device: torch.device) -> torch.dtype:
    """The format called `name`; auto is bfloat16 where the device computes in it, else float16 on a GPU.

    Raises TrainingError for float16 on a CPU, whose small range needs a GPU's scaled gradients.
    """
    if name == "auto":
        if device.type == "cuda":
            return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
        return torch.bfloat16 if torch.cpu._is_avx512_bf16_supported() else torch.float32
    if name == "fp16" and device.type == "cpu":
        raise TrainingError("--dtype fp16 needs a GPU. On a CPU, use bf16 or float32.")
    return DTYPES[name]


def computing_in(dtype: torch.dtype, device: torch.device) -> AbstractContextManager[object]:
    """Float32 weights are multiplied in `dtype` within."""
    if dtype is torch.float32:
        return nullcontext()
    return torch.autocast(device_type=device.type, dtype=dtype)
