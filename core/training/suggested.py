"""Suggests a config for a table: `train.py --init FILE --target NAME`."""
import pathlib
import re
import sys
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Union

from core.training.auto_schedule import schedule_for
from core.training.suggested_columns import check_target, choose_columns, name_of, names_of, reference_to
from data_loader.regression import load_regression
from data_loader.table_classes import load_class_table
from data_loader.table_dates import is_date
from data_loader.table_file import Table, read_table
from data_loader.table_roles import find_column
from data_loader.table_text import TableFormat
from misc.config import CLASSIFICATION, REGRESSION, Config
from misc.config_overlays import FOLDER, read_overlay
from misc.errors import UserError
from misc.flags import FORMAT_KEYS, naming_flag, settings_of

METHOD = "ekfac"
FEW_VALUES = 2  # different numbers of a target up to which it is taken for classes
HIDDEN = [50]  # for tables of all sizes: the recipe was measured with this network, on up to 200,000 rows
RECIPE = "recipe.json"  # the overlay with the keys of a regression
TEST_FRACTION = 0.1
SETTABLE = (*FORMAT_KEYS, "categories", "drop", "row_id", "missing", "dates")  # keys that go with --init
CLASS_STEPS = 1500  # of a classification
CLASS_KL = [1.0, 0.3, 0.1]  # candidates of its kl


class Suggestion(NamedTuple):
    """A config for a table, and why."""

    config: Dict[str, Any]
    reasons: List[str]  # sentences


def suggest(path: pathlib.Path, target: Union[str, int, Sequence[str], None] = None,
            given: Optional[Dict[str, Any]] = None) -> Suggestion:
    """Looks at a table and returns a config that trains on it. Raises UserError if no network can be trained on it.

    The config lists every input. Columns that number or name the rows are dropped, the first of them as row_id, and so
    are columns of too many words, and dates of which some are missing or written otherwise. Few different numbers and
    words in one column are categories. Missing values are replaced by the median, with an indicator if more than 5 % of
    a column are missing; dates are expanded.
    A target of words, or of two numbers, is a class; several targets are all numbers. Splits of classes are
    stratified: of a rare class a random test set may hold no row, or all, and with large classes it changes little.

    Args:
      path: of the table.
      target: its column, by name or by number from 1, or several in a list or with commas between them (a column whose
        name has commas is meant where there is one); None: the last column.
      given: values of SETTABLE keys that the user has chosen.
    """
    given = dict(given or {})
    table = _read(path, given)
    n_rows, width = table.frame.shape
    targets = [width - 1] if target is None else find_targets(table, target)
    reasons = [f"target: {names_of(table, targets)}" + ("" if target is not None else ", the last column")]
    references = [reference_to(table, column) for column in targets]
    values: Dict[str, Any] = {"dataset": _set_name(path), "data_file": str(path),
                              "target": references if len(targets) > 1 else references[0]}
    check_target(table, targets[0])
    columns = choose_columns(table, targets, given, reasons)
    inputs = columns.inputs
    if not inputs:
        why = "; ".join(reason for reason in reasons if reason.startswith(("not among", "row_id")))
        raise UserError(f"{path}: no column is left as an input beside the target{f' ({why})' if why else ''}")
    for key, chosen in columns._asdict().items():
        if chosen:
            names = [reference_to(table, column) for column in chosen]
            values[key] = names[0] if key == "row_id" else names
    values.update({} if "missing" in given else _for_missing(table, inputs, reasons))
    words = [column for column in inputs if not table.is_number(column) and column not in columns.categories]
    if "dates" not in given and any(is_date(table.frame.iloc[:, column]) for column in words):
        values["dates"] = "expand"
        reasons.append("dates become year, month, day, weekday and time of day")
    values.update({key: value for key, value in given.items() if key not in ("drop", "categories")})
    is_class = _is_class(table, targets)
    values.update(protocol="random", test_fraction=TEST_FRACTION)
    if is_class:
        values["stratified"] = True
        reasons.append("stratified: the test rows have the same share of each class as all rows")
    values["optimizer"] = METHOD
    n_train = int(round((1.0 - TEST_FRACTION) * n_rows))
    values.update(_for_classes(n_train) if is_class else settings_for_numbers())
    reasons.append(f"mode {values['mode']}: {_about_targets(table, targets)}")
    config = Config.from_dict(values, "the suggested config")
    data = (load_class_table if is_class else load_regression)(config)  # what cannot be trained on is refused here
    return Suggestion(values, [*data.notices, *reasons])


def _read(path: pathlib.Path, given: Dict[str, Any]) -> Table:
    """Returns the table, in which columns of numbers and words are kept as words."""
    form = {key: given[key] for key in FORMAT_KEYS if key in given and key != "missing_marks"}
    words_in = [*(given.get("categories") or ()), *([given["row_id"]] if given.get("row_id") else [])]
    return read_table(path, TableFormat(missing_marks=tuple(given.get("missing_marks") or ()), **form), words_in,
                      given.get("drop") or (), keeps_mixed=True)


def find_targets(table: Table, target: Union[str, int, Sequence[str]]) -> List[int]:
    """Returns the positions, from 0, of the columns that `--target` names.

    Raises a UserError for a column that does not exist or is given twice, and for words among several targets.
    """
    given = [target] if isinstance(target, (str, int)) else list(target)
    targets = [column for text in given for column in _columns_of(table, text)]
    for number, column in enumerate(targets):
        if column in targets[:number]:
            raise UserError(f"--target: {name_of(table, column)} is given twice")
        if len(targets) > 1 and not table.is_number(column):
            word = str(table.frame.iloc[:, column].dropna().iloc[0])
            raise UserError(f"--target: {name_of(table, column)} holds words such as {word!r}, and several targets "
                            "are numbers: leave it out, or give it alone to predict classes")
    return targets


def _columns_of(table: Table, text: Union[str, int]) -> List[int]:
    """Returns the column that a text names, or else the columns that its parts between commas name."""
    names = table.names or ()
    parts = str(text).split(",")
    if str(text) in names or len(parts) == 1:
        return [_column_of(table, text)]
    parts = [part if part in names else part.strip() for part in parts]
    if not any(part in names or re.fullmatch(r"\d+", part) for part in parts):
        return [find_column(table, str(text), "--target")]  # a name with commas that is misspelled
    return [_column_of(table, part) for part in parts]


def _column_of(table: Table, text: Union[str, int]) -> int:
    """Returns the column that a text names, or numbers unless it is a name."""
    is_number = re.fullmatch(r"\d+", str(text)) is not None and str(text) not in (table.names or ())
    return find_column(table, int(text) if is_number else str(text), "--target")


def _n_values(table: Table, column: int) -> int:
    """Returns how many different values a column has, besides missing ones."""
    return int(table.frame.iloc[:, column].nunique())


def _is_class(table: Table, targets: Sequence[int]) -> bool:
    """Tells whether the only target is a class: words, or few numbers."""
    return len(targets) == 1 and (not table.is_number(targets[0]) or _n_values(table, targets[0]) <= FEW_VALUES)


def _about_targets(table: Table, targets: Sequence[int]) -> str:
    if len(targets) > 1:
        return f"the {len(targets)} targets hold numbers"
    words = not table.is_number(targets[0])
    return "the target holds " + ("words" if words else f"{_n_values(table, targets[0])} different numbers")


def print_suggestion(path: str, target: Optional[Sequence[str]], overrides: Sequence[str] = ()) -> Dict[str, Any]:
    """Returns the suggested config; the reasons go to the screen.

    overrides: KEY=VALUE of SETTABLE keys.
    """
    with naming_flag(SETTABLE):
        suggestion = suggest(pathlib.Path(path), target, settings_of(overrides, SETTABLE, "--init"))
    for reason in suggestion.reasons:
        print(reason, file=sys.stderr)
    return suggestion.config


def settings_for_numbers() -> Dict[str, Any]:
    """Returns the keys of a regression: the recipe."""
    recipe = {name: value for name, value in read_overlay(FOLDER / RECIPE).values.items() if value is not None}
    return dict(mode=REGRESSION, model_name="ffn", hidden=HIDDEN, **recipe)


def settings_for_classes(n_train: int) -> Dict[str, Any]:
    """Returns the keys of a classification of rows, in which lengths follow from the number of rows.

    A KL weight and a prior variance of 0.3 were chosen on validation rows of three small tables, with learning curves
    that are flat after 1500 steps (docs/results_classification.md).
    """
    batch = int(schedule_for(n_train, METHOD, {})["batch_size"])
    per_epoch = -(-n_train // batch)
    epochs = max(1, round(CLASS_STEPS / per_epoch))
    return dict(mode=CLASSIFICATION, model_name="ffn", hidden=HIDDEN, kl=0.3, eta=0.3, batch_size=batch, epoch=epochs,
                train_particles=4, learning_rate=0.01, damping=0.0, kl_warmup=max(1, epochs // 4),
                clip_warmup=0, decay_every_itr=max(1, 3 * epochs * per_epoch // 4),
                TCov=5, TInv=25, TEigen=25, TScale=5, epoch_rate=max(1, epochs // 10),
                save_interval=max(1, epochs // 10))


def _for_classes(n_train: int) -> Dict[str, Any]:
    """Returns `settings_for_classes` with candidates of kl, among which a run chooses inside its training rows.

    Which is best depends on the table: rows that are easy to tell apart ask for a cold posterior, in which weight noise
    does not make certain rows uncertain, and labels with errors for a warm one.
    """
    values = settings_for_classes(n_train)
    del values["kl"]
    return dict(values, kl_candidates=CLASS_KL)


def _for_missing(table: Table, inputs: List[int], reasons: List[str]) -> Dict[str, Any]:
    shares = table.frame.iloc[:, inputs].isna().mean()
    if not (shares > 0).any():
        return {}
    how = "indicator" if (shares > 0.05).any() else "median"
    reasons.append(f"missing values in {int((shares > 0).sum())} columns: missing {how}")
    return {"missing": how}


def _set_name(path: pathlib.Path) -> str:
    """Returns a name for the data set, of letters, digits and _ . + -."""
    name = re.sub(r"[^A-Za-z0-9_.+-]+", "_", path.name.split(".")[0]).strip("_.+-")
    return name or "table"
