"""Records that both loaders return: rows to train on or evaluate on, and what the graph must know of them."""
import typing

import numpy as np

ROW, FILE = "row", "file"  # the columns of predictions that hold the numbers of rows, from 1, and names of image files


class Part(typing.NamedTuple):
    """Some rows of a data set."""

    x: typing.Any  # standardised inputs, float [n, d], or images, uint8 [n, height, width, channels] (or MappedImages)
    y: typing.Optional[np.ndarray]  # standardised targets, float [n], or labels, int32 [n]; None if there are none
    n_in_train: typing.Optional[int] = None  # of other rows: how many the run was trained on; None: not looked for
    notices: typing.Tuple[str, ...] = ()  # of other rows: sentences about what was assumed
    ids: typing.Optional[np.ndarray] = None  # what predictions call the rows, [n]: numbers from 1, or texts
    id_name: str = ROW  # what predictions call the column of the ids


class Pixels(typing.NamedTuple):
    """Statistics of the pixels over the training images, on the scale 0 to 255."""

    mean: np.ndarray  # [channels]
    std: np.ndarray  # [channels]; 1 where a channel is constant


class Spec(typing.NamedTuple):
    """What the network and the graph must know of a data set."""

    n_rows: int  # training rows
    shape: typing.Tuple[int, ...]  # of one input: (d,), or (height, width, channels)
    n_outputs: int  # width of the network's output
    pixels: typing.Optional[Pixels]  # the graph standardises images by these; None: inputs are standardised already
    n_evaluated: int = 0  # validation and test rows on which an evaluation in training predicts; 0: unknown
    is_mapped: bool = False  # whether images stay in a file, from which the graph reads minibatches
