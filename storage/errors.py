"""What can go wrong in the store.

StoreError
├── StoreUnavailable   locked, full, read-only or unreachable for now: nothing was changed, try again
├── StoreUnusable      the database cannot be used as it is (corrupt, no database, newer schema, bad URL)
└── LeaseLost          the turn or reply was taken over by another process: drop the result
"""


class StoreError(Exception):
    """Base of every error the store raises on purpose."""


class StoreUnavailable(StoreError):
    """The database does not take the change now; nothing was changed."""


class StoreUnusable(StoreError):
    """The database cannot be used until the operator acts; the message names file and remedy."""


class LeaseLost(StoreError):
    """The lease expired and somebody else may hold it now; nothing was changed."""
