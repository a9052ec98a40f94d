"""The lengths and rates that follow from the number of rows."""
import json

import pytest

import train
from core.training import run
from core.training.auto_schedule import schedule_for, with_schedule
from misc.config import Config
from misc.folders import read_config, run_folder

CHOSEN = set(schedule_for(1000, "ekfac", {}))


@pytest.fixture
def asked(settings):
    """Function (**given) -> Config that asks for the schedule, and gives of its keys only `given`."""
    def make(**given):
        values = {name: value for name, value in settings().items() if name not in CHOSEN}
        return Config.from_dict(dict(values, auto_schedule=True, **given))

    return make


@pytest.mark.parametrize("n_rows", [1, 7, 50, 100, 333, 1000, 20000, 10**6])
@pytest.mark.parametrize("optimizer", ["ekfac", "kfac", "diag", "adam"])
def test_every_number_of_rows_has_a_schedule(asked, n_rows, optimizer):
    values = schedule_for(n_rows, optimizer, {})
    assert Config.from_dict(dict(dataset="any", model_name="ffn50", optimizer=optimizer, **values))
    assert 1 <= values["batch_size"] <= min(256, max(n_rows, 1))
    steps = values["epoch"] * -(-n_rows // values["batch_size"])
    assert 1900 <= steps <= 41000  # 1e6 rows have some 4000 steps in an epoch
    assert 3 <= values["epoch"] / values["epoch_rate"] <= 10


def test_it_grows_with_the_table():
    small, middle, large = (schedule_for(n, "ekfac", {}) for n in (100, 1000, 100000))
    assert small["batch_size"] == 20 and middle["batch_size"] == 40 and large["batch_size"] == 256
    assert small["epoch"] == 1200 and middle["epoch"] == 1600 and large["epoch"] == 40
    assert small["train_particles"] == middle["train_particles"] == 4 and large["train_particles"] == 2
    assert small["alpha"] == large["alpha"] == 0.025 and middle["alpha"] == 0.02


def test_what_the_config_gives_stays(asked):
    config = with_schedule(asked(epoch=3, alpha=0.5), 1000)
    assert (config.epoch, config.alpha, config.batch_size, config.Teigen) == (3, 0.5, 40, 25)
    assert with_schedule(config, 77) == config  # now all keys are given


@pytest.mark.parametrize("given", [{"epoch": 50}, {"epoch": 4000}, {"batch_size": 10}, {"alpha": 0.01}, {"Teigen": 5}])
def test_the_other_values_follow_from_those_that_are_given(given):
    values, usual = (schedule_for(900, "ekfac", some) for some in (given, {}))
    (name, value), = given.items()
    assert values[name] == value != usual[name]
    steps = values["epoch"] * -(-900 // values["batch_size"])
    assert steps > 36000 or name == "epoch"
    if name != "alpha":
        assert values["alpha"] == min(800.0 / steps, 0.025)
    assert values["lr_decay_interval"] == round(0.75 * values["epoch"])
    assert values["beta"] / values["alpha"] == pytest.approx(0.5 * values["Teigen"] / 25)


@pytest.mark.parametrize("optimizer, unread", [("ekfac", set()), ("kfac", {"omega", "Teigen", "re_init_iters"}),
                                               ("adam", {"beta", "omega", "Teigen", "re_init_iters"})])
def test_keys_that_a_method_does_not_read_are_left_out(optimizer, unread):
    assert CHOSEN - set(schedule_for(1000, optimizer, {})) == unread


def test_a_finished_run_is_not_trained_again(asked):
    config = asked(epoch=2)
    folder = run_folder(config)
    run.finish(config, folder)
    written = folder.result.stat().st_mtime_ns
    run.finish(config, folder)
    assert folder.result.stat().st_mtime_ns == written and not folder.root.with_name(folder.root.name + ".1").exists()


def test_null_is_as_good_as_nothing(asked):
    assert with_schedule(asked(lr_decay_interval=None), 1000) == with_schedule(asked(), 1000)


def test_without_the_key_nothing_changes(config):
    assert with_schedule(config(), 1000) == config()


def test_a_plan_has_the_numbers_and_the_folder_keeps_them(asked, settings, tmp_path):
    plan = run.plan(asked(epoch=2))
    expected = schedule_for(plan.data.spec.n_rows, "ekfac", {})
    assert plan.config.batch_size == expected["batch_size"] and plan.design.steps_per_epoch == 2
    path = tmp_path / "asked.json"
    path.write_text(json.dumps(asked(epoch=2).model_dump(exclude_unset=True)))
    train.main(["--config", str(path)])
    stored, _ = read_config(run_folder(plan.config).root, {})
    assert stored == plan.config or stored.model_dump() == plan.config.model_dump()
    train.main(["--config", str(path), "--resume"])  # the same config again: nothing has changed


def test_explain_lists_what_was_chosen(asked, tmp_path, capsys):
    path = tmp_path / "asked.json"
    path.write_text(json.dumps(asked(epoch=2).model_dump(exclude_unset=True)))
    train.main(["--config", str(path), "--explain"])
    text = capsys.readouterr().out
    assert ("auto_schedule, for 39 rows and what the config gives: epoch 2, batch_size 20, train_particles 4, alpha "
            "0.025, beta 0.0125") in text
