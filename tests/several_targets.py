"""Data of several targets, made from arrays."""
import numpy as np

from data_loader.parts import Part, Spec
from data_loader.splits import Split
from data_loader.table_data import TableData
from data_loader.table_transform import NUMBER, Column, Place, TableTransform


def standardised_data(x, y, n_test=20, names=None):
    """TableData of inputs [n, d] and targets [n, m]; the last rows are the test rows, there are no others."""
    n = len(x) - n_test
    mean, std = y[:n].mean(axis=0), y[:n].std(axis=0)
    scaled = (y - mean) / std
    d, width = x.shape[1], x.shape[1] + y.shape[1]
    columns = names or [None] * width
    places = [Place(name, number) for number, name in enumerate(columns, start=1)]
    transform = TableTransform(tuple(Column(*place, NUMBER) for place in places[:d]), "refuse", places[d], None, width,
                               tuple(places[d + 1:]))
    return TableData(
        train=Part(x[:n], scaled[:n]), valid=None, test=Part(x[n:], scaled[n:]),
        spec=Spec(n, (x.shape[1],), y.shape[1], None), input_mean=np.zeros(x.shape[1]), input_std=np.ones(x.shape[1]),
        target_mean=mean, target_std=std, constant=np.zeros(d, bool), transform=transform, names=names,
        is_commented=False, source="an array", split=Split("published", 1, np.arange(n), np.arange(n, len(x))),
        split_hash="0", rows_hash="1", train_hashes=np.arange(n), n_valid_in_train=None, n_test_in_train=None,
        notices=(), input_range=np.stack([x[:n].min(axis=0), x[:n].max(axis=0)]))


def single_target(data):
    """The data of the first target as they are with one target: [n] and floats."""
    train, test = (part._replace(y=part.y[:, 0]) for part in (data.train, data.test))
    return data._replace(train=train, test=test, spec=data.spec._replace(n_outputs=1),
                         target_mean=float(data.target_mean[0]), target_std=float(data.target_std[0]))


def correlated_noise(rng, n, correlation=0.8):
    """[n, 2], with standard deviations 0.5 and 1."""
    z = rng.randn(n, 2)
    return np.column_stack([0.5 * z[:, 0], correlation * z[:, 0] + (1.0 - correlation**2)**0.5 * z[:, 1]])
