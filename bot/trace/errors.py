"""What can be wrong with the files that a trace is made from."""


class TraceError(Exception):
    """A file of turns or settings cannot be used. The message names it, the place in it, and what is accepted."""
