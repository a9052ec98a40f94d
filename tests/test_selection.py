"""The choice of kl before a training."""
import json
import logging

import numpy as np
import pytest

import train
from core.training import run, selection
from misc.config import Config
from misc.errors import Diverged, RunError, Stopped, UserError
from misc.folders import read_config, run_folder

pytestmark = pytest.mark.usefixtures("shared_graphs")  # folds share the few sizes of their rows
OPTIMIZER = "kfac"

LOG = logging.getLogger("test")


def plan_of(config, **values):
    return run.plan(config(kl_candidates=[1.0, 0.25, 0.5], **values))


def scores_by(score):
    """Returns (a stand-in for `train` whose fits have the score of a function of kl, the plans it was given)."""
    plans = []

    def fit(plan, folder):
        plans.append(plan)
        return {"metrics": {"valid_log_likelihood": score(plan.config.kl)}}

    return fit, plans


@pytest.mark.parametrize("score, best", [(lambda kl: -kl, 0.25), (lambda kl: kl, 1.0), (lambda kl: 0.0, 1.0),
                                         (lambda kl: -abs(kl - 0.5), 0.5)])
def test_the_best_is_chosen(config, tmp_path, score, best):
    fit, plans = scores_by(score)
    chosen = selection.select(plan_of(config), fit, LOG, tmp_path, bar=False)
    assert chosen.kl == best and chosen.scores == {f"{kl:g}": score(kl) for kl in (1.0, 0.25, 0.5)}
    assert [plan.config.kl for plan in plans] == [1.0, 0.25, 0.5]


def test_a_fit_sees_neither_test_rows_nor_the_rows_that_judge_it(config):
    plan = plan_of(config, validation_fraction=0.2, evaluate_on="validation", epoch=9)
    data, made = plan.data, selection.candidate_plan(plan, 0.25)
    n_valid = round(0.2 * len(data.train.x))
    assert made.data.test is None and len(made.data.valid.x) == n_valid == made.data.valid.y.size
    np.testing.assert_array_equal(np.concatenate([made.data.valid.x, made.data.train.x]), data.train.x)
    np.testing.assert_array_equal(np.concatenate([made.data.valid.y, made.data.train.y]), data.train.y)
    assert made.design.spec.n_rows == made.design.prior.n_data == len(data.train.x) - n_valid
    assert (made.config.kl, made.config.kl_candidates, made.config.epoch) == (0.25, None, 4)
    assert (made.config.alpha, made.config.beta, made.config.omega) == (0.04, 0.2, 0.4)  # twice as large
    assert made.config.decay_interval == 2 and plan.config.decay_interval == 5


def test_a_diverged_fit_is_not_chosen(config, tmp_path, caplog):
    def fit(plan, folder):
        if plan.config.kl < 1.0:
            raise Diverged("training diverged")
        return {"metrics": {"valid_log_likelihood": -9.0}}

    with caplog.at_level(logging.INFO):
        chosen = selection.select(plan_of(config), fit, LOG, tmp_path, bar=False)
    assert chosen.kl == 1.0 and chosen.scores["0.5"] is None
    assert "kl 0.25 cannot be chosen: training diverged" in caplog.text


def test_no_fit_at_all_is_an_error(config, tmp_path):
    def fit(plan, folder):
        raise Diverged("training diverged")

    with pytest.raises(RunError, match="every fit with one of kl_candidates failed"):
        selection.select(plan_of(config), fit, LOG, tmp_path, bar=False)


def test_what_else_ends_a_fit_ends_the_choice(config, tmp_path):
    def fit(plan, folder):
        raise RunError("no memory is left")

    with pytest.raises(RunError, match="no memory is left"):
        selection.select(plan_of(config), fit, LOG, tmp_path, bar=False)
    assert not (tmp_path / selection.PLACE).exists()


def test_warm_ups_are_shortened_too(config):
    made = selection.candidate_plan(plan_of(config, epoch=8, kl_warmup=6, alpha=3.0), 0.25)
    assert (made.config.kl_warmup, made.config.epoch, made.config.alpha) == (3, 4, 3.0)


def test_a_choice_that_is_missing_is_damage(finished_run, capsys):
    path, folder = finished_run(kl_candidates=[2.0, 0.01], epoch=6)
    about = json.loads(folder.config.read_text())
    del about["selection"]
    folder.config.write_text(json.dumps(about))
    folder.result.unlink()
    with pytest.raises(SystemExit) as caught:
        train.main(["--config", str(path), "--resume"])
    assert caught.value.code == 2 and "damaged" in capsys.readouterr().err
    with pytest.raises(UserError, match="damaged"):
        read_config(folder.root, {})


def test_a_candidate_is_given_once(config):
    with pytest.raises(UserError, match="kl_candidates has a value twice"):
        config(kl_candidates=[1.0, 1.0])


def test_a_signal_says_that_nothing_is_saved(config, tmp_path):
    def fit(plan, folder):
        raise Stopped("stopped by SIGINT after step 3 of 9; it is saved: --resume continues from there", 2)

    with pytest.raises(Stopped, match="stopped while kl was being chosen, before the training") as caught:
        selection.select(plan_of(config), fit, LOG, tmp_path, bar=False)
    assert caught.value.number == 2


def test_a_run_trains_with_what_it_chose(config, config_file, finished_run, capsys):
    folder = finished_run(kl_candidates=[2.0, 0.01], epoch=6)[1]
    chosen = json.loads(folder.result.read_text())["selection"]
    assert chosen["kl"] == max((score, float(kl)) for kl, score in chosen["scores"].items())[1]
    assert f"kl {chosen['kl']:g} is chosen" in folder.log.read_text()
    assert read_config(folder.root, {})[0].kl == chosen["kl"]
    metrics = json.loads(folder.result.read_text())["metrics"]
    path = config_file(kl=chosen["kl"], epoch=6, exp_name="by_hand")
    train.main(["--config", str(path)])
    by_hand = json.loads(run_folder(config(kl=chosen["kl"], epoch=6, exp_name="by_hand")).result.read_text())
    assert by_hand["metrics"] == metrics


def test_a_resumed_run_keeps_what_it_chose(finished_run, monkeypatch):
    path, folder = finished_run(kl_candidates=[2.0, 0.01], epoch=6)
    before = json.loads(folder.result.read_text())
    folder.result.unlink()
    monkeypatch.setattr(selection, "select", None)  # it would fail if it were called
    train.main(["--config", str(path), "--resume"])
    after = json.loads(folder.result.read_text())
    assert after["selection"] == before["selection"] and after["metrics"] == before["metrics"]


def test_explain_names_the_candidates_and_trains_nothing(config_file, capsys, monkeypatch):
    monkeypatch.setattr(selection, "select", None)
    train.main(["--config", str(config_file(kl_candidates=[1.0, 0.3])), "--explain"])
    assert "until one of 1, 0.3 is chosen before the training" in capsys.readouterr().out


N_ROWS = 66


@pytest.fixture
def class_config(tmp_path):
    """Function (**values) -> Config of a classification of the rows of a small table."""
    path = tmp_path / "flowers.csv"
    lines = [f"{row % 7},{row * row % 11},{'ab'[row % 7 > 3]}" for row in range(N_ROWS)]
    path.write_text("\n".join(["width,height,kind", *lines]) + "\n")

    def make(**values):
        return Config.from_dict(dict(
            dict(mode="classification", dataset="flowers", data_file=str(path), protocol="random", optimizer="kfac",
                 model_name="ffn", hidden=[3], batch_size=10, epoch=8, kl_warmup=4, decay_every_itr=36, TCov=2,
                 TInv=4, threads=1, kl_candidates=[1.0, 0.1], experiments_path=str(tmp_path / "e")),
            **values))

    return make


def test_each_row_of_few_judges_a_classification_once(class_config):
    plan = run.plan(class_config())
    n_rows = plan.data.spec.n_rows
    made = [selection.candidate_plan(plan, 0.1, fold) for fold in range(selection.n_folds(plan.config, n_rows))]
    assert len(made) == 5 and n_rows % 5
    np.testing.assert_array_equal(np.concatenate([part.data.valid.x for part in made]), plan.data.train.x)
    np.testing.assert_array_equal(np.concatenate([part.data.valid.y for part in made]), plan.data.train.y)
    for part in made:
        both = np.concatenate([part.data.valid.x, part.data.train.x])
        assert part.data.test is None and part.design.prior.n_data == len(part.data.train.x) == len(part.data.train.y)
        np.testing.assert_array_equal(np.sort(both, axis=0), np.sort(plan.data.train.x, axis=0))
    # 53 rows in 6 batches an epoch become 42 in 5, for half of the epochs
    assert n_rows == 53 and made[0].design.steps_per_epoch == 5
    assert (made[0].config.epoch, made[0].config.kl_warmup, made[0].config.decay_every_itr) == (4, 2, 15)


def test_many_rows_judge_by_one_fifth(class_config, config):
    assert selection.n_folds(class_config(), 2000) == 5
    assert selection.n_folds(class_config(), 2001) == selection.n_folds(config(), 20) == 1


def test_folds_count_by_their_rows(class_config, tmp_path):
    def fit(plan, folder):
        return {"metrics": {"valid_log_likelihood": -float(len(plan.data.valid.x))}}

    plan = run.plan(class_config())
    sizes = [len(selection.candidate_plan(plan, 1.0, fold).data.valid.x) for fold in range(5)]
    chosen = selection.select(plan, fit, LOG, tmp_path, bar=False)
    assert chosen.scores["0.1"] == pytest.approx(-sum(size * size for size in sizes) / sum(sizes), rel=1e-12)
    assert len(set(sizes)) > 1


def test_a_classification_trains_with_what_it_chose(class_config):
    made = class_config(optimizer="diag")
    result = run.execute(run.plan(made, "cpu"))
    chosen = result["selection"]
    assert chosen["kl"] == max((score, float(kl)) for kl, score in chosen["scores"].items())[1]
    assert "log-likelihood of all five fifths of the 53 training rows" in run_folder(made).log.read_text()
    by_hand = class_config(optimizer="diag", kl_candidates=None, kl=chosen["kl"], exp_name="by_hand")
    assert run.execute(run.plan(by_hand, "cpu"))["metrics"] == result["metrics"]


def test_images_have_no_candidates():
    with pytest.raises(UserError, match="kl_candidates: for tables only"):
        Config.from_dict(dict(mode="classification", dataset="digits", optimizer="ekfac", model_name="digits",
                              kl_candidates=[1.0, 0.1]))
