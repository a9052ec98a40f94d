"""NETWORKS: config name -> what it is, and config -> network. To add one, add a row."""
import collections
import functools

from networks.ffn import ffn

Network = collections.namedtuple("Network", ["meaning", "make"])
"""`make(config)` returns a function (x, layers, n_outputs) -> outputs; see networks/layers.py."""


def _fixed(*hidden):
    return lambda config: functools.partial(ffn, hidden=hidden)


NETWORKS = {
    "linear": Network("no hidden layer: linear regression", _fixed()),
    "ffn50": Network("one hidden layer of 50 units", _fixed(50)),
    "ffn100": Network("one hidden layer of 100 units", _fixed(100)),
    "ffn": Network("hidden layers of the widths in key `hidden`",
                   lambda config: functools.partial(ffn, hidden=config.hidden)),
}
