"""What can go wrong with a persona pack."""


class PersonaError(Exception):
    """A pack cannot be made, read or taken in. The message says what to change."""
