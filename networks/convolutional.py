"""Convolutional networks for images.

For x and layers see networks/layers.py. batch_norm: whether every hidden layer is followed by batch normalisation,
before the activation.
"""
from typing import Any, Sequence


def vgg(x: Any, layers: Any, n_outputs: int, blocks: Sequence[Sequence[int]], batch_norm: bool = False) -> Any:
    """Applies blocks of 3 x 3 convolutions, each block followed by 2 x 2 max-pooling, then one linear layer.

    Args:
      blocks: for each block, the widths of its convolutions.

    Reference: Simonyan and Zisserman (2015), https://arxiv.org/abs/1409.1556; widths as in Zhang et al. (2018)
    """
    for widths in blocks:
        for width in widths:
            x = _hidden(layers, layers.conv2d(x, width), batch_norm)
        x = layers.max_pool(x)
    return layers.dense(layers.flatten(x), n_outputs)


def resnet(x: Any, layers: Any, n_outputs: int, widths: Sequence[int], n_blocks: int, batch_norm: bool = False) -> Any:
    """Applies, for every width, `n_blocks` blocks of two 3 x 3 convolutions with a shortcut, then one linear layer.

    Three widths make 6 n_blocks + 2 layers. Where the width changes, the images are halved in height and width, and
    the shortcut is padded with zeros for the new channels.

    Reference: He et al. (2016), Sec. 4.2, https://arxiv.org/abs/1512.03385
    """
    x = _hidden(layers, layers.conv2d(x, widths[0]), batch_norm)
    for number, width in enumerate(widths):
        for block in range(n_blocks):
            stride = 2 if number > 0 and block == 0 else 1
            h = _hidden(layers, layers.conv2d(x, width, stride=stride), batch_norm)
            h = layers.conv2d(h, width)
            h = layers.batch_norm(h) if batch_norm else h
            x = layers.activate(layers.add(h, x))
    return layers.dense(layers.global_pool(x), n_outputs)


def lenet(x: Any, layers: Any, n_outputs: int, widths: Sequence[int], batch_norm: bool = False) -> Any:
    """Applies two 5 x 5 convolutions with max-pooling, two hidden dense layers, and one linear layer.

    Args:
      widths: of the two convolutions and the two dense layers.

    Reference: LeCun et al. (1998), Sec. II.B, with max-pooling and full connections
    """
    for width in widths[:2]:
        x = layers.max_pool(_hidden(layers, layers.conv2d(x, width, kernel=5), batch_norm))
    x = layers.flatten(x)
    for width in widths[2:]:
        x = _hidden(layers, layers.dense(x, width), batch_norm)
    return layers.dense(x, n_outputs)


def _hidden(layers: Any, s: Any, batch_norm: bool) -> Any:
    """Returns the outputs of a hidden layer from its pre-activations."""
    return layers.activate(layers.batch_norm(s) if batch_norm else s)
