"""The one error class that users are meant to see."""

from __future__ import annotations


class InputError(ValueError):
    """Something a user can mend: one line naming the field or file, the value and the remedy.

    The command line prints it without a traceback and exits with status 2.

    >>> str(InputError("trainer.optim.lr", -1.0, "use a number above 0"))
    'trainer.optim.lr: -1.0: use a number above 0'
    >>> str(InputError("config.json", None, "add model_type"))
    'config.json: add model_type'
    """

    def __init__(self, field: str, value: object = None, remedy: str = ""):
        self.field = field
        self.value = value
        self.remedy = remedy
        parts = [field]
        if value is not None:
            text = value if isinstance(value, str) else repr(value)
            parts.append(text if len(text) <= 200 else text[:197] + "...")
        if remedy:
            parts.append(remedy)
        super().__init__(" ".join(": ".join(parts).split()))


def missing_extra(module: str, extra: str) -> InputError:
    """The error for an optional library that is not installed.

    >>> str(missing_extra("matplotlib", "report"))
    'matplotlib: not installed: pip install "nautiloid[report]"'
    """
    return InputError(module, "not installed", f'pip install "nautiloid[{extra}]"')
