"""NETWORKS: config's model_name -> what it is, and how it is made. To add a network, add a row.

Read in this order: geometry (of convolutions), layers (what networks are made of), ffn, convolutional.
"""
import functools
from typing import Any, Callable, Dict, NamedTuple, Tuple

from misc.config import Config
from networks.convolutional import lenet, resnet, vgg
from networks.ffn import ffn


class Network(NamedTuple):
    """A network by name."""

    meaning: str                           # a line for --list
    make: Callable[[Config], Callable]     # config -> function (x, layers, n_outputs) -> outputs, see layers.py
    images_only: bool = False              # whether it takes images and no rows of numbers
    ignores: Tuple[str, ...] = ("width",)  # config keys of networks that have no effect with it


def _ffn(*hidden: int) -> Callable[[Config], Callable]:
    return lambda config: functools.partial(ffn, hidden=hidden, batch_norm=config.batch_norm)


def _scaled(widths: Any, config: Config) -> Any:
    """Returns the widths times config's `width`, at least 1; also of nested lists."""
    if isinstance(widths, (list, tuple)):
        return [_scaled(width, config) for width in widths]
    return max(1, int(round(widths * config.width)))


def _convolutional(network: Callable, meaning: str, **settings: Any) -> Network:
    """Returns a row for images: config's `width` multiplies `widths` and `blocks`."""
    def make(config: Config) -> Callable:
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


NETWORKS: Dict[str, Network] = {
    "linear": Network("no hidden layer: linear regression", _ffn(), ignores=("width", "batch_norm")),
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
