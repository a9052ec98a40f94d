"""NETWORKS: config name -> what it is, and config -> network. To add one, add a row."""
import collections
import functools

from networks.convolutional import lenet, resnet, vgg
from networks.ffn import ffn

Network = collections.namedtuple(
    "Network", ["meaning", "make", "images_only", "ignores"], defaults=(False, ("width",)))
"""`make(config)` returns a function (x, layers, n_outputs) -> outputs, see networks/layers.py; ignores:
config keys of networks that it does not go by."""


def _ffn(*hidden):
    return lambda config: functools.partial(ffn, hidden=hidden, batch_norm=config.batch_norm)


def _channels(widths, config):
    """The widths times config's `width`, at least 1; lists of lists too."""
    if isinstance(widths, (list, tuple)):
        return [_channels(width, config) for width in widths]
    return max(1, int(round(widths * config.width)))


def _convolutional(network, meaning, **settings):
    """A row for pictures: `widths` and `blocks` are multiplied by config's `width`."""
    def make(config):
        scaled = {name: _channels(value, config) if name in ("widths", "blocks") else value
                  for name, value in settings.items()}
        return functools.partial(network, batch_norm=config.batch_norm, **scaled)

    return Network(meaning, make, images_only=True, ignores=())


def _vgg(*repeats):
    blocks = [[width] * n for width, n in zip((32, 64, 128, 256, 256), repeats)]
    return _convolutional(vgg, f"{sum(repeats)} convolutions of 32 to 256 channels, one dense layer", blocks=blocks)


def _resnet(n_blocks):
    return _convolutional(resnet, f"{6 * n_blocks + 1} convolutions of 16 to 64 channels with shortcuts, one dense "
                          "layer", widths=[16, 32, 64], n_blocks=n_blocks)


NETWORKS = {
    "linear": Network("no hidden layer: linear regression", _ffn(), ignores=("width", "batch_norm")),
    "ffn50": Network("one hidden layer of 50 units", _ffn(50)),
    "ffn100": Network("one hidden layer of 100 units", _ffn(100)),
    "ffn": Network("hidden layers of the widths in key `hidden`",
                   lambda config: functools.partial(ffn, hidden=config.hidden, batch_norm=config.batch_norm)),
    "mlp": Network("two hidden layers of 100 units", _ffn(100, 100)),
    "lenet": _convolutional(lenet, "two 5 x 5 convolutions (6, 16), dense layers of 120 and 84",
                            widths=[6, 16, 120, 84]),
    "vgg11": _vgg(1, 1, 2, 2, 2),
    "vgg13": _vgg(2, 2, 2, 2, 2),
    "vgg16": _vgg(2, 2, 3, 3, 3),
    "vgg19": _vgg(2, 2, 4, 4, 4),
    "resnet20": _resnet(3),
    "resnet32": _resnet(5),
}
