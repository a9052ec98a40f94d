"""Several runs as one mixture: of one split and of several, whose standardisations differ."""
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import optimize, stats

from core.assessment.restore import restored
from tests.predict.houses import SETTINGS, assert_equal, houses, train_on, write_table

pytestmark = pytest.mark.usefixtures("shared_graphs")


@pytest.fixture(scope="module")
def other_seed(folder):
    """A run of the split of `run`, with another seed."""
    return train_on(folder / "houses.csv", "other", seed=3, split=1)


def draws_of(root, x_of):
    """Returns (means [K, n], noise scales [K], degrees of freedom) in the units of the data; x_of: encodes the rows."""
    with restored(root, {}) as run:
        noise = run.noise()
        draws = run.design.task.draws(run.session, run.model, x_of(run.data), run.data, noise)
        return (run.data.target_mean + run.data.target_std * draws.outputs.astype(np.float64),
                run.data.target_std / np.sqrt(noise.precisions), noise.dof)


def inputs_of(data):
    """Encodes the first rows of houses.csv as a run does."""
    from data_loader.other_rows import encode_as, match_columns
    from data_loader.table_file import Table

    frame = houses().head(9)
    table = Table(frame.set_axis(range(frame.shape[1]), axis=1), tuple(frame.columns), "houses")
    return encode_as(data, match_columns(table, data, needs_target=False))[0]


@pytest.mark.parametrize("second", ["other_seed", "student"])
def test_a_mixture_by_hand(run, table, rows_file, of, request, second):
    other = request.getfixturevalue(second)
    got, _ = of(run, rows_file(table.head(9)), "--ensemble", other, "--interval", 0.8)
    members = [draws_of(root, inputs_of) for root in (run, other)]
    if second == "student":
        with restored(run, {}) as one, restored(other, {}) as two:
            assert one.data.target_mean != two.data.target_mean and one.data.input_mean[0] != two.data.input_mean[0]
    means = np.concatenate([means for means, _, _ in members])
    scales = np.concatenate([scales for _, scales, _ in members])
    dofs = np.concatenate([np.full(len(scales), dof) for _, scales, dof in members])
    noise = np.mean(scales**2 / (1 - 2 / dofs))
    assert_allclose(got["mean"], means.mean(axis=0), rtol=1e-6)
    assert_allclose(got["epistemic_std"], means.std(axis=0), rtol=1e-6)
    assert_allclose(got["std"], np.sqrt(means.var(axis=0) + noise), rtol=1e-6)

    def cdf(y, row):
        t = (y - means[:, row]) / scales
        return np.mean([stats.norm.cdf(each) if np.isinf(dof) else stats.t.cdf(each, dof)
                        for each, dof in zip(t, dofs)])

    for name, level in (("lower", 0.1), ("upper", 0.9)):
        exact = [optimize.brentq(lambda y, row=row, level=level: cdf(y, row) - level, -1e3, 1e3, xtol=1e-10)
                 for row in range(9)]
        assert_allclose(got[name], exact, rtol=1e-6)


def test_the_order_of_runs_does_not_count(run, student, other_seed, folder, of):
    one, _ = of(run, folder / "houses.csv", "--ensemble", student, other_seed)
    two, _ = of(other_seed, folder / "houses.csv", "--ensemble", run, student)
    assert one["house"].tolist() == two["house"].tolist()
    for name in set(one) - {"house"}:
        assert_allclose(one[name], two[name], rtol=1e-6)


def test_runs_of_other_columns(run, folder, table, of):
    """A run without ids, of fewer inputs in another order, joins: rows are matched for every run by itself."""
    path = write_table(folder, table[["zone", "value", "rooms"]], "few.csv")
    few = train_on(path, "few", row_id=None)
    both, said = of(run, folder / "houses.csv", "--ensemble", few)
    assert both["house"].tolist() == table["house"].tolist()
    alone = [of(root, folder / "houses.csv")[0] for root in (run, few)]
    assert next(iter(alone[1])) == "row"
    assert_allclose(both["mean"], (alone[0]["mean"] + alone[1]["mean"]) / 2, rtol=1e-6)
    swapped, _ = of(few, folder / "houses.csv", "--ensemble", run)
    assert next(iter(swapped)) == "row" and swapped["row"].tolist() == list(range(1, 121))
    assert said.count("columns that the run does not know are not used: 'house', 'crime', 'river', 'age'") == 1


def test_runs_that_do_not_fit_together(run, folder, table, iris, refuse, of):
    path = write_table(folder, table, "age.csv")
    other = train_on(path, "age", **dict(SETTINGS, target="rooms"))
    refuse("do not predict the same target", run, folder / "houses.csv", "--ensemble", other)
    refuse("runs of regression and of classification", run, folder / "houses.csv", "--ensemble", iris)
    more = train_on(folder / "houses.csv", "more", test_particles=9)
    refuse("the runs have 7 and 9 draws", run, folder / "houses.csv", "--ensemble", more)
    assert_equal(of(run, folder / "houses.csv", "--ensemble", more, "--particles", 7)[0],
                 of(run, folder / "houses.csv", "--ensemble", more, "--particles", 7)[0])
