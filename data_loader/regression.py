"""Loads a table whose targets are numbers, splits it and standardises it."""
import typing

import numpy as np

from data_loader.row_blocks import Numbers
from data_loader.splits import Splitter
from data_loader.table_data import TableData, standards_of, table_data
from data_loader.table_file import Table
from data_loader.table_notices import about_copies, about_two_values
from data_loader.tables import SplitTable, load_split_table
from misc.config import Config
from misc.errors import UserError


def load_regression(config: Config, given: typing.Optional[Table] = None,
                    splitter: typing.Optional[Splitter] = None) -> TableData:
    """Reads, checks, splits and standardises the config's table. Raises a UserError if that is impossible.

    Args:
      given: the table, if it is in memory; None: it is read.
      splitter: chooses the split; None: the config's protocol.
    """
    loaded = load_split_table(config, given=given, splitter=splitter)
    rows, n_targets = loaded.train_rows, len(loaded.roles.targets)
    raw, n_inputs = loaded.targets, loaded.inputs.shape[1]
    is_scaled = np.append(loaded.transform.scaled, np.ones(n_targets, bool))
    standards = standards_of(Numbers((loaded.inputs, raw)), rows, is_scaled, loaded.table.source)
    inputs, of_targets = standards.of(slice(n_inputs)), standards.of(slice(n_inputs, None))
    targets = of_targets.scaled(raw)
    notices: typing.List[str] = []
    for number in range(n_targets):
        if of_targets.constant[number]:
            _refuse_constant(loaded, raw[rows, number], number)
        x = map(inputs.scaled, Numbers((loaded.inputs,)).blocks(rows))
        notices += [*about_copies(loaded.transform, x, targets[rows, number]), *about_two_values(raw[:, number])]
    if config.noise_covariance == "full" and n_targets == 1:
        notices.append("note: noise_covariance full has no effect with one target")
    mean, std = of_targets.mean, of_targets.std
    if n_targets == 1:
        return table_data(config, loaded, inputs, targets[:, 0], raw, 1, notices, target_mean=float(mean[0]),
                          target_std=float(std[0]))
    return table_data(config, loaded, inputs, targets, raw, n_targets, notices, target_mean=mean, target_std=std)


def _refuse_constant(loaded: SplitTable, targets: np.ndarray, number: int) -> typing.NoReturn:
    """Raises a UserError for a target that does not vary over the training rows; number: which of them, from 0."""
    spread, places = np.ptp(targets), loaded.transform.targets
    why = f"varies by {spread:.2g} only, as rounding does (subtract an offset from it)" if spread else "is constant"
    name = "the target" if len(places) == 1 else f"the target {places[number].label}"
    raise UserError(f"{loaded.table.source}: {name} {why} over the training rows; there is nothing to learn")
