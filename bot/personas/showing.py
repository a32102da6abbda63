"""A pack, or a persona of config.yaml, in words."""

from pathlib import Path

from adapters.terminal import visible
from bot.config import Config, Persona, load_config
from bot.personas.archive import is_archive
from bot.personas.errors import PersonaError
from bot.personas.installing import FOLDER, opened_pack
from bot.personas.manifest import FILE, Manifest
from bot.personas.pack import CARD, SAMPLES


def listed(config_path: Path) -> str:
    """One line for each persona of config.yaml. Raises ConfigError."""
    config = load_config(config_path)
    return "".join(f"{_marked(config, name)}\n" for name in sorted(config.personas))


def shown(what: str, config_path: Path) -> str:
    """Everything about one: what it says of itself, and, where it has a pack, its card and sample talks.

    Raises PersonaError and ConfigError.
    """
    path = Path(what)
    if is_archive(path) or (path / FILE).is_file():
        return _of_pack(path)
    config = load_config(config_path)
    if what not in config.personas:
        raise PersonaError(
            f"{what!r} is neither a pack nor a persona of {config_path}. It has: {', '.join(sorted(config.personas))}."
        )
    persona = config.personas[what]
    lines = [_marked(config, what), *_manner(persona), f"writes with: {config.model.checkpoint} (model.checkpoint)"]
    text = "".join(f"{line}\n" for line in lines)
    origin = config_path.parent / FOLDER / what
    return f"{text}\n{_of_pack(origin)}" if (origin / FILE).is_file() else text


def _of_pack(path: Path) -> str:
    with opened_pack(path) as (folder, manifest):
        parts = [_head(path, manifest), *(_page(folder / name) for name in (CARD, SAMPLES))]
    return visible("\n".join(part for part in parts if part))  # a stranger wrote it


def _head(path: Path, manifest: Manifest) -> str:
    model = manifest.model
    brought = f"its own ({f'an adapter beside {model.base}' if model.base else 'whole weights'})"
    lines = [
        f"{path}: {manifest.name}, whole and unchanged",
        *_manner(manifest.persona),
        f"decoding: {manifest.decoding.model_dump(exclude_defaults=True) or 'default'}",
        f"model: {brought if model.is_own else model.checkpoint}",
        f"licence: {manifest.licence}",
    ]
    return "".join(f"{line}\n" for line in lines)


def _page(file: Path) -> str:
    return file.read_text(encoding="utf-8") if file.is_file() else ""


def _manner(persona: Persona) -> list[str]:
    facts = [f"fact: {fact}" for fact in persona.facts]
    opening = [f"opening: {line}" for line in persona.opening]
    return [f"name: {persona.name}", f"greeting: {persona.greeting}", *facts, *opening, f"safety: {persona.safety}"]


def _marked(config: Config, name: str) -> str:
    spoken = " (speaks where nothing else is chosen)" if config.bot.persona == name else ""
    return f"{name}: {config.personas[name].name}{spoken}"
