"""Networks. Read layers (what a network may call), then ffn and convolutional; geometry is that of convolutions.

NETWORKS maps config's `model_name` to a network. To add one, write a function (x, layers, n_outputs) -> outputs and add
a row.
"""
import functools
from typing import Any, Callable, NamedTuple, Tuple

from misc.config import Config
from networks.convolutional import lenet, resnet, vgg
from networks.ffn import ffn
from networks.layers import NetworkFunction


class Network(NamedTuple):
    """A row of NETWORKS."""

    meaning: str  # one line for --list
    make: Callable[[Config], NetworkFunction]  # config -> function (x, layers, n_outputs) -> outputs
    images_only: bool = False  # whether it needs examples (height, width, channels)
    ignores: Tuple[str, ...] = ("width",)  # config keys of networks that have no effect on this one


def _ffn(*hidden: int) -> Callable[[Config], NetworkFunction]:
    return lambda config: functools.partial(ffn, hidden=hidden, batch_norm=config.batch_norm)


def _scaled(widths: Any, config: Config) -> Any:
    """Returns the widths, a number or nested lists, times config's `width`, rounded and at least 1."""
    if isinstance(widths, (list, tuple)):
        return [_scaled(width, config) for width in widths]
    return max(1, int(round(widths * config.width)))


def _convolutional(network: Callable, meaning: str, **settings: Any) -> Network:
    """Returns a row for images, whose `widths` and `blocks` are multiplied by config's `width`."""
    def make(config: Config) -> NetworkFunction:
        scaled = {name: _scaled(value, config) if name in ("widths", "blocks") else value
                  for name, value in settings.items()}
        return functools.partial(network, batch_norm=config.batch_norm, **scaled)

    return Network(meaning, make, images_only=True, ignores=())


def _vgg(*repeats: int) -> Network:
    blocks = [[width] * n for width, n in zip((32, 64, 128, 256, 256), repeats)]
    return _convolutional(vgg, f"{sum(repeats)} convolutions of 32 to 256 channels, one dense layer", blocks=blocks)


def _resnet(n_blocks: int) -> Network:
    return _convolutional(resnet, f"{6 * n_blocks + 1} convolutions of 16 to 64 channels with shortcuts, one dense "
                          "layer", widths=[16, 32, 64], n_blocks=n_blocks)


NETWORKS = {
    "linear": Network("no hidden layer: a linear model", _ffn(), ignores=("width", "batch_norm")),
    "ffn50": Network("one hidden layer of 50 units", _ffn(50)),
    "ffn100": Network("one hidden layer of 100 units", _ffn(100)),
    "ffn": Network("hidden layers of the widths in key `hidden`",
                   lambda config: functools.partial(ffn, hidden=config.hidden or (), batch_norm=config.batch_norm)),
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
