"""`train.py --resume --epochs N`: a longer run, whose decays and other lengths are those of the shorter one."""
import json

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import evaluate
import train
from core.inference.step_sizes import Refreshes, regression_step_sizes
from core.training import lengthening, run
from core.training.design import design_run
from data_loader.batches import epoch_plan
from data_loader.parts import Spec
from misc.config import Config
from misc.folders import run_folder
from misc.records import read_rows
from tests.classification_runs.short import settings as digits
from tests.golden_runs import interrupted
from tests.test_checkpoints import assert_same, steps
from tests.written import weights

pytestmark = pytest.mark.usefixtures("shared_graphs")  # most tests train the same few settings
OPTIMIZER = "kfac"

RUNS = {
    "ekfac": {"optimizer": "ekfac"},
    "kfac": {"optimizer": "kfac", "epoch_rate": 5, "save_interval": 3},  # no evaluation is due after 4, 6, 8
    "held_out": {"noise_update": "held_out", "epoch_rate": 4, "validation_fraction": 0.2},
}


def longer(path, epochs=None, code=None):
    """Lengthens the run of a config file; `code`: of the exit that is expected."""
    command = ["--config", str(path), "--resume", *(["--epochs", str(epochs)] if epochs is not None else [])]
    if code is None:
        return train.main(command)
    with pytest.raises(SystemExit) as stop:
        train.main(command)
    assert stop.value.code == code


def files(folder):
    """All that a run has written, without times."""
    rows = [{name: value for name, value in row.items() if name != "seconds"} for row in read_rows(folder.metrics)]
    result = json.loads(folder.result.read_text())
    result = {name: value for name, value in result.items() if not name.endswith(("_s", "_per_second"))}
    return rows, result, folder.predictions.read_text(), json.loads(folder.config.read_text())


def bytes_of(folder):
    return {path: path.read_bytes() for path in folder.root.rglob("*") if path.is_file()}


@pytest.fixture
def lengthened(finished_run):
    """Function (*lengths, **settings) -> Folder of a run of 4 epochs that was lengthened to each of these in turn."""

    def make(*lengths, **settings):
        path, folder = finished_run(**settings)
        for epochs in lengths:
            longer(path, epochs)
        return folder

    return make


@pytest.mark.parametrize("case", sorted(RUNS))
def test_lengthened_twice_is_lengthened_once(lengthened, case):
    """All files but those of TensorBoard and the log agree to the last bit, wherever evaluations fall."""
    settings = RUNS[case]
    once = lengthened(8, exp_name="once", **settings)
    twice = lengthened(6, 8, exp_name="twice", **settings)
    assert steps(once)[0] == steps(twice)[0] == 8 * (7 if "validation_fraction" in settings else 8)
    assert_same(weights(once), weights(twice))
    for one, other in zip(files(once), files(twice)):
        assert str(one).replace("'once'", "'twice'") == str(other)


def test_an_interrupted_run_is_lengthened_as_a_finished_one(lengthened, config_file, config):
    finished = lengthened(7, exp_name="finished", steps_per_run=1)
    settings = dict(exp_name="cut", steps_per_run=1)
    path, folder = config_file(**settings), run_folder(config(**settings))
    with interrupted(20), pytest.raises(SystemExit):
        train.main(["--config", str(path)])
    assert 16 <= steps(folder)[0] < 32
    with interrupted(25), pytest.raises(SystemExit):
        longer(path, 7)
    assert 32 < steps(folder)[0] < 56 and not folder.result.exists()
    longer(path)  # the length is in config.json
    assert_same(weights(finished), weights(folder))
    assert str(files(finished)).replace("'finished'", "'cut'") == str(files(folder))


def test_what_the_files_say(lengthened, capsys):
    folder = lengthened(6)
    about, result = json.loads(folder.config.read_text()), json.loads(folder.result.read_text())
    for written in (about, result):
        assert (written["config"]["epoch"], written["extended_from"], written["extended_to"]) == (4, 4, 6)
    assert result["steps"] == 48 and [row["epoch"] for row in read_rows(folder.metrics)] == ["2", "4", "6"]
    assert result["metrics"]["test_rmse"] == float(read_rows(folder.metrics)[-1]["test_rmse"])
    assert "the run of 4 epochs is lengthened to 6; all that follows from epoch stays as it was" in (
        folder.log.read_text())
    evaluate.main([str(folder.root)])
    metrics = json.loads((folder.evaluation / "metrics.json").read_text())
    assert metrics["metrics"]["rmse"]["value"] == pytest.approx(result["metrics"]["test_rmse"], rel=1e-6)
    assert "extended_from" not in json.loads((lengthened(exp_name="plain").config).read_text())


def test_step_sizes_go_on_as_they_ended(config):
    """No second decay after the last epoch, and no way back."""
    made = config(epoch=4, lr_decay_interval=2)
    with tf.Graph().as_default(), tf.Session() as session:
        epoch = tf.placeholder(tf.int32, [])
        sizes = regression_step_sizes(made, epoch, tf.constant(1.0, tf.float64), 8, Refreshes({}))
        means = [session.run(sizes.mean, {epoch: number}) for number in range(1, 20)]
    np.testing.assert_allclose(means, 0.02 * np.array([1.0] * 2 + [0.1] * 17), rtol=1e-12)


def test_a_longer_run_takes_other_steps_than_a_run_of_that_length(lengthened, finished_run):
    """It keeps the decay after epoch 2, and rows are held out until epoch 2, not 4."""
    settings = dict(noise_update="held_out", exp_name="short")
    folder = lengthened(8, **settings)
    _, whole = finished_run(**dict(settings, exp_name="long", epoch=8))
    _, same = finished_run(**dict(settings, exp_name="same", epoch=8, lr_decay_interval=2, held_out_epochs=2,
                                  lr_decay_ratio=0.1))
    assert not np.array_equal(weights(folder)["dense0/mean"], weights(whole)["dense0/mean"])
    assert not np.array_equal(weights(folder)["dense0/mean"], weights(same)["dense0/mean"])  # which decays again


@pytest.mark.parametrize("length", [4, 8])
def test_without_decays_it_is_a_run_of_that_length(lengthened, finished_run, length):
    """The same steps, to the last bit, once all that depends on the length is given."""
    settings = dict(lr_decay_ratio=1.0, noise_update="held_out", held_out_epochs=3, kl_warmup=6)
    folder = lengthened(8, exp_name="short", **settings)
    _, whole = finished_run(exp_name="long", **dict(settings, epoch=8))
    assert_same(weights(folder), weights(whole))


def test_a_classification_decays_by_steps_as_ever(tmp_path):
    """Nothing there follows from epoch, so it is a run of the full length; lengthened twice, too."""
    def trained(*lengths):
        values = digits(tmp_path, optimizer="kfac", hidden=None, model_name="linear", decay_every_itr=8,
                        batch_size=300)
        folders = []
        for epoch, first in zip(lengths, (True, False, False)):
            made = Config.from_dict(dict(values, epoch=lengths[0], exp_name="_".join(map(str, lengths))))
            run.execute(run.plan(made), resume=not first, epochs=None if first else epoch)
            folders.append(run_folder(made))
        return weights(folders[-1])

    whole = trained(3)
    assert_same(trained(1, 3), whole)
    assert_same(trained(1, 2, 3), whole)


def test_lengths_that_follow_from_epoch_stay(config):
    made = config(epoch=10, noise_update="held_out")
    plan = lengthening.with_length(run.plan(made), 30)
    assert plan.design.n_epochs == 30 and plan.config == plan.design.config == made
    assert (made.epochs_held_out, made.decay_interval) == (6, 5)
    holding = [bool(epoch_plan(plan.config, 39, epoch)["holding_out"]) for epoch in range(1, 31)]
    assert holding == [True] * 6 + [False] * 24


def test_the_graph_has_the_updates_of_the_longer_run(config):
    """Noisy EK-FAC first refreshes its basis after the steps of the shorter run."""
    design = design_run(config(optimizer="ekfac", epoch=1, Teigen=12, re_init=False), Spec(39, (3,), 1, None))
    assert design.schedule.due_sets(8) == [] != design.schedule.due_sets(16)


def test_updates_that_first_fall_due_in_the_longer_run(lengthened):
    folder = lengthened(2, 3, optimizer="ekfac", exp_name="late", epoch=1, Teigen=12, re_init=False, lr_decay_ratio=1.0)
    assert not np.array_equal(weights(folder)["dense0/q_a"], np.eye(4)) and steps(folder)[0] == 24


def test_an_auto_schedule_stays(settings, tmp_path):
    values = {name: value for name, value in settings(exp_name="auto").items()
              if name not in ("batch_size", "alpha", "beta", "omega", "Teigen", "re_init_iters", "train_particles",
                              "epoch_rate", "save_interval")}
    path = tmp_path / "auto.json"
    path.write_text(json.dumps(dict(values, auto_schedule=True)))
    folder = run_folder(Config.from_dict(dict(values, auto_schedule=True)))
    train.main(["--config", str(path)])
    before = json.loads(folder.config.read_text())["config"]
    longer(path, 6)
    assert json.loads(folder.config.read_text())["config"] == before and before["alpha"] == 0.025
    assert json.loads(folder.result.read_text())["steps"] == 12


def test_a_chosen_kl_stays(finished_run):
    path, folder = finished_run(kl_candidates=[2.0, 0.01], epoch=4)
    before = json.loads(folder.result.read_text())["selection"]
    longer(path, 6)
    after = json.loads(folder.result.read_text())
    assert after["selection"] == before and after["steps"] == 48 and after["extended_to"] == 6


@pytest.mark.parametrize("epochs, words", [
    (0, "--epochs 0: the run has 4 epochs by its config: give more to lengthen it"),
    (3, "--epochs 3: the run has 4 epochs by its config"),
    (4, "--epochs 4: the run has 4 epochs by its config"),
    (6, "has been trained for 6 epochs: give more to lengthen it"),
    (5, "has been trained for 6 epochs: give more to lengthen it")])
def test_a_length_that_is_none(finished_run, config_file, capsys, epochs, words):
    path, folder = finished_run()
    longer(path, 6)
    before = bytes_of(folder)
    capsys.readouterr()
    longer(path, epochs, code=2)
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and words in error
    assert bytes_of(folder) == before


def test_a_lengthened_run_that_is_finished_is_left_as_it_is(lengthened, config_file, capsys):
    folder = lengthened(6)
    before = bytes_of(folder)
    longer(config_file())
    assert "already finished: nothing to do" in capsys.readouterr().err and bytes_of(folder) == before


def test_a_result_belongs_to_the_length_in_the_config(lengthened, config_file, config):
    """A run that ends before its first new checkpoint has no result; --resume goes on to the new length."""
    folder = lengthened()
    with interrupted(0), pytest.raises(SystemExit):
        longer(config_file(), 6)
    assert json.loads(folder.config.read_text())["extended_to"] == 6 and not folder.result.exists()
    longer(config_file())
    assert json.loads(folder.result.read_text())["extended_to"] == 6


def test_repeated_runs_want_the_length_of_the_config(lengthened, config):
    """A lengthened run is not the run that regression_baseline.py asks for: it is archived and trained anew."""
    folder = lengthened(6)
    made = config()
    rows_hash = run.plan(made).data.rows_hash
    assert not run.is_finished(folder, made, rows_hash) and not run.is_resumable(folder, made, rows_hash)


def test_it_needs_resume(config_file, capsys):
    with pytest.raises(SystemExit) as stop:
        train.main(["--config", str(config_file()), "--epochs", "8"])
    error = capsys.readouterr().err
    assert stop.value.code == 2 and error.count("\n") == 1
    assert "--epochs lengthens a run that is there: add --resume, or set the length of a new run by --set epoch=8" in (
        error)


def test_it_needs_a_run(config_file, config, capsys):
    longer(config_file(), 8, code=2)
    assert "there is no checkpoint in" in capsys.readouterr().err
    assert not run_folder(config()).root.exists()


def test_explain(finished_run, capsys):
    path, _ = finished_run(optimizer="ekfac")
    train.main(["--config", str(path), "--resume", "--epochs", "8", "--explain"])
    text = capsys.readouterr().out
    assert "steps      8 epochs of 8 steps = 64" in text
    assert "lengthened from 4 epochs: all that follows from epoch stays as it was" in text
    assert "every 2 epochs" in text and "every 3 steps: 21 times" in text
    longer(path, 4, code=2)
