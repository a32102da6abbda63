"""With which code the program ends, so that a supervisor and a script can tell why."""

from enum import IntEnum


class Exit(IntEnum):
    OK = 0
    FAILED = 1
    CONFIG = 2  # config.yaml, a persona, a checkpoint: an edit is needed
    STORE = 3  # the database
    PLATFORM = 4  # a token or permission was refused
    USAGE = 64  # the command line itself (EX_USAGE)
    HUNG = 75  # a generation outlasted its limit: start me again (EX_TEMPFAIL)
    ORPHANED = 76  # the parent process is gone
    INTERRUPTED = 130
