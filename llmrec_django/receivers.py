"""Signal receivers."""


def connect() -> None:
    pass
