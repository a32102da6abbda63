"""A low-rank adapter as peft writes it: what it adds to the weights of the model that it stands beside.

Hu et al. 2021 (LoRA, arXiv:2106.09685): a layer's weight W becomes W + scale * B A. The sum is made once, when the
checkpoint is read, so that the network is the base's own and as fast. peft itself is not needed.
"""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bot.generator import smollm2
from bot.generator.checkpoints import read_object
from bot.generator.errors import CheckpointError
from bot.generator.formats.base import Checkpoint

if TYPE_CHECKING:
    from torch import Tensor

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
RECORD = "banter.json"
"""What peft has no place for: the dialect, and the sentences that the model was told about itself."""

_PREFIX = "base_model.model."
_DOWN, _UP = ".lora_A.weight", ".lora_B.weight"
_KINDS_THAT_DIFFER = ("use_dora", "use_qalora", "modules_to_save", "layer_replication", "trainable_token_indices")


def recognise(path: Path) -> Checkpoint | None:
    """A directory with an adapter. Raises CheckpointError for one that is no plain LoRA, or stands beside nothing."""
    if not (path / CONFIG).is_file():
        return None
    config = read_object(path / CONFIG)
    _check(path, config)
    base = open_base(str(config["base_model_name_or_path"]))
    record = read_object(path / RECORD) if (path / RECORD).is_file() else {}
    own = tuple(path / name for name in (CONFIG, WEIGHTS, RECORD) if (path / name).is_file())
    told = tuple(f"it was told about itself: {sentence}" for sentence in record.get("persona", ()))
    return dataclasses.replace(
        base,
        dialect=str(record.get("dialect", base.dialect)),
        path=path,
        files=(*own, *base.files),
        read_weights=lambda: _merged(path, config, base),
        notes=(*base.notes, f"an adapter beside {config['base_model_name_or_path']}", *told),
    )


def open_base(name: str) -> Checkpoint:
    """The checkpoint that an adapter's name for its base stands for: never another adapter. Raises CheckpointError.

    "smollm2" is then the model as its authors published it, also where an adapter of ours goes by that name.
    """
    from bot.generator.formats.registry import open_checkpoint

    found = open_checkpoint(str(smollm2.smollm2_file()) if name == smollm2.NAME else name)
    if (found.path / CONFIG).is_file():
        base = read_object(found.path / CONFIG).get("base_model_name_or_path")
        raise CheckpointError(f"{name}: this is an adapter itself. Name the model that it stands beside, {base}.")
    return found


def _check(path: Path, config: Mapping[str, Any]) -> None:
    differing = [name for name in _KINDS_THAT_DIFFER if config.get(name)]
    kind = config.get("peft_type")
    if kind != "LORA" or differing or config.get("bias", "none") != "none":
        what = differing[0] if differing else f"peft_type {kind}, bias {config.get('bias', 'none')}"
        raise CheckpointError(
            f"{path / CONFIG}: only plain LoRA adapters can be used, and this one has {what}. Merge it into its model "
            "with peft, and use the merged model."
        )
    if not config.get("base_model_name_or_path"):
        raise CheckpointError(
            f"{path / CONFIG}: base_model_name_or_path is empty. Write there which model the adapter stands beside: "
            '"smollm2", a directory, or a hub id.'
        )
    if not (path / WEIGHTS).is_file():
        raise CheckpointError(f"{path}: there is an {CONFIG}, but no {WEIGHTS}. Copy the adapter again.")


def _merged(path: Path, config: Mapping[str, Any], base: Checkpoint) -> "dict[str, Tensor]":
    from bot.generator.formats.pickles import is_mask
    from bot.generator.formats.stored import tensors_in, weight_files

    if base.read_weights is None:
        weights = {name: tensor for name, tensor in tensors_in(weight_files(base)) if not is_mask(name)}
    else:
        weights = base.read_weights()
    adapter = dict(tensors_in((path / WEIGHTS,)))
    downs = [name for name in adapter if name.endswith(_DOWN)]
    strangers = sorted(set(adapter) - {other for name in downs for other in (name, _up(name))})
    if strangers or not downs or any(_up(name) not in adapter for name in downs):
        first = strangers[0] if strangers else f"no pairs *{_DOWN} and *{_UP}"
        raise CheckpointError(f"{path / WEIGHTS}: this is no plain LoRA adapter ({first}). Copy it again.")
    for name in downs:
        layer = name.removeprefix(_PREFIX).removesuffix(_DOWN)
        key = _key(f"{layer}.weight", weights, path)
        before = weights[key]
        change = _scale(config, layer, len(adapter[name])) * adapter[_up(name)].float() @ adapter[name].float()
        if config.get("fan_in_fan_out"):  # GPT-2's layers hold their weights the other way round
            change = change.T
        if change.shape != before.shape:
            raise CheckpointError(
                f"{path}: the adapter does not fit {base.path}: {layer} is {tuple(before.shape)}, the adapter's "
                f"{tuple(change.shape)}. Name the right model in {CONFIG}."
            )
        weights[key] = before.float() + change  # rounded once, when it is known to what
    return weights


def _up(down: str) -> str:
    return down.removesuffix(_DOWN) + _UP


def _key(name: str, weights: "Mapping[str, Tensor]", path: Path) -> str:
    """The weight's name in the base's files; a file of the bare body leaves out the first part."""
    for key in (name, name.partition(".")[2]):
        if key in weights:
            return key
    raise CheckpointError(f"{path}: the adapter changes {name}, which its model does not have. Name the right one.")


def _scale(config: Mapping[str, Any], layer: str, rank: int) -> float:
    alphas = config.get("alpha_pattern") or {}
    alpha = next((value for ending, value in alphas.items() if layer.endswith(ending)), config.get("lora_alpha", rank))
    return float(alpha) / (math.sqrt(rank) if config.get("use_rslora") else rank)
