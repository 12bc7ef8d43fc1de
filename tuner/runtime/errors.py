"""Errors that a user caused and can mend: one line that says what, where and the nearest choice."""

from __future__ import annotations

from collections.abc import Iterable

TYPE_CHECKING = False  # as in typing, which takes long to import
if TYPE_CHECKING:
    from typing import Any

__all__ = ["TunerError", "printable", "unknown"]

MAX_CHARACTERS = 1200
MAX_NAME = 200


class TunerError(Exception):
    """Bad input. The text is one line for a person; the command line prints it and exits with 2.

    It may quote a file of a stranger: what a terminal would act on is written as an escape, and a
    long text is cut in its middle.
    """

    def __str__(self) -> str:
        text = printable(super().__str__())
        if len(text) <= MAX_CHARACTERS:
            return text
        return f"{text[: MAX_CHARACTERS * 3 // 4]} ... {text[-MAX_CHARACTERS // 5 :]}"


def printable(text: str) -> str:
    """Returns a text with control characters and lone surrogates as escapes; blanks stay."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each in " \t\n" else ascii(each)[1:-1] for each in text
    )


def unknown(what: str, name: Any, choices: Iterable[Any]) -> TunerError:
    """Returns the error for a name that is none of `choices`, with the nearest of them.

    Args:
        what: The kind of name, e.g. "device".
        name: What was given.
        choices: The names that would have been right.
    """
    import difflib

    name = name if _is_number(name) else str(name)[:MAX_NAME]
    options = list(choices)
    known = [str(choice) for choice in options]
    near = difflib.get_close_matches(str(name).lower(), [k.lower() for k in known], n=3, cutoff=0.5)
    begun = str(name).lower() if len(str(name)) > 2 else None
    named = [k for k in known if k.lower() in near or (begun and k.lower().startswith(begun))]
    if _is_number(name) and all(_is_number(option) for option in options):
        named = [str(option) for option in sorted(options, key=lambda o: abs(o - name))[:2]]
    hint = f"; did you mean {', '.join(named)}?" if named else ""
    listed = ", ".join(known[:12]) + (", ..." if len(known) > 12 else "")
    return TunerError(f"unknown {what} {str(name)!r}{hint} (known: {listed or 'none'})")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
