"""Which class of transformers a configuration belongs to. Nothing but the library's own code is ever run."""

from typing import Any

from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, PretrainedConfig, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from bot.generator.errors import CheckpointError
from bot.generator.formats.base import Checkpoint


def causal_family(checkpoint: Checkpoint) -> type[PreTrainedModel]:
    """The class of the checkpoint's network. Raises CheckpointError if the library has none, or none that can be used.

    A network that reads a text in one direction into a state of fixed size cannot be read with padding in front.
    """
    kind = str(checkpoint.config.get("model_type"))
    if kind not in CONFIG_MAPPING:
        raise CheckpointError(
            f"{checkpoint.path}: transformers has no model_type {kind!r} of its own, and code that comes with a "
            "checkpoint is not run. Use another checkpoint, or a newer transformers."
        )
    configuration: type[PretrainedConfig] = CONFIG_MAPPING[kind]
    if configuration not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise CheckpointError(f"{checkpoint.path}: a model of the type {kind!r} does not write text. Use another one.")
    family: Any = MODEL_FOR_CAUSAL_LM_MAPPING[configuration]
    if isinstance(family, tuple):
        family = family[0]
    if family._is_stateful:
        raise CheckpointError(f"{checkpoint.path}: recurrent models ({kind!r}) cannot be used. Use another checkpoint.")
    found: type[PreTrainedModel] = family
    return found
