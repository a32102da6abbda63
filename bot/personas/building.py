"""The stages of a build, in order. Importing this imports what trains models."""

from bot.personas.build import Stage
from bot.personas.learning import figures, samples, train
from bot.personas.packing import pack
from bot.personas.preparing import consent, read, scrub, split

STAGES: dict[str, Stage] = {
    "read": read,
    "consent": consent,
    "scrub": scrub,
    "split": split,
    "train": train,
    "samples": samples,
    "figures": figures,
    "pack": pack,
}
