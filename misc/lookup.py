"""Tables of objects by name, with errors that suggest a name."""
import difflib
import typing

from misc.errors import UserError

T = typing.TypeVar("T")


def lookup(table: typing.Mapping[str, T], key: str, what: str) -> T:
    """Returns `table[key]`. Raises a UserError that names the nearest key and all others.

    what: name of this kind of key, for the message.
    """
    if key in table:
        return table[key]
    raise UserError(f"unknown {what} {key!r}{did_you_mean(key, table)}; known: {', '.join(sorted(table))}")


def did_you_mean(key: str, known: typing.Iterable[str]) -> str:
    """Returns `; did you mean 'x'?` for the known name nearest to `key`, or an empty text if none is near."""
    near = difflib.get_close_matches(str(key), list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""
