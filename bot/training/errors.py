"""What can go wrong while training."""


class TrainingError(Exception):
    """Training cannot start or go on. The message says what to change."""
