"""What can go wrong between a checkpoint and a reply."""


class GeneratorError(Exception):
    """Base of every error of this package."""


class CheckpointError(GeneratorError):
    """A checkpoint cannot be used. The message names it, what is wrong, and what to do about it."""


class GenerationFailed(GeneratorError):
    """The model could not answer this request. Other requests are not affected."""
