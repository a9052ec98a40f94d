"""Explicit name -> object tables."""
import difflib

from misc.errors import UserError


def lookup(table, key, what):
    """`table[key]`, or a UserError that names the nearest key and all that could be asked for."""
    if key in table:
        return table[key]
    raise UserError(f"unknown {what} {key!r}{did_you_mean(key, table)}; known: {', '.join(sorted(table))}")


def did_you_mean(key, known):
    """`; did you mean 'x'?` for the known name nearest to `key`, or nothing."""
    near = difflib.get_close_matches(str(key), list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""
