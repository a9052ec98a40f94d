"""Key `patience`: a training that ends when the validation log-likelihood no longer rises, and keeps its best state."""
import json

import numpy as np
import pytest

import evaluate
import train
from core.training import checkpoints, run, selection
from core.training.checkpoints import Progress
from misc.errors import UserError
from misc.folders import run_folder
from misc.records import read_rows
from tests.golden_runs import interrupted
from tests.test_checkpoints import assert_same, steps
from tests.written import weights

pytestmark = pytest.mark.usefixtures("shared_graphs", "no_figures")  # most tests train the same few settings
OPTIMIZER = "kfac"

# A run whose validation log-likelihood is highest in the middle.
SETTINGS = dict(epoch=40, epoch_rate=1, save_interval=7, validation_fraction=0.3, alpha=0.1, patience=3,
                lr_decay_ratio=1.0)


def scores(folder):
    return {int(row["epoch"]): float(row["valid_log_likelihood"]) for row in read_rows(folder.metrics)}


def expected_end(by_epoch, patience):
    """(epoch after which the training ends, best epoch) by the definition."""
    best = waited = None
    for epoch, score in sorted(by_epoch.items()):
        best, waited = (epoch, 0) if best is None or score > by_epoch[best] else (best, waited + 1)
        if waited == patience:
            break
    return epoch, best


@pytest.mark.parametrize("patience", [1, 3, 100])
def test_it_ends_and_keeps_the_best(finished_run, patience):
    _, whole = finished_run(**dict(SETTINGS, patience=None, exp_name="whole"))
    _, folder = finished_run(**dict(SETTINGS, patience=patience, exp_name="patient"))
    last, best = expected_end(scores(whole), patience)
    result, rows = json.loads(folder.result.read_text()), read_rows(folder.metrics)
    assert (last < 40) == (patience < 100) and best < last
    assert scores(folder) == {epoch: score for epoch, score in scores(whole).items() if epoch <= last}
    assert (result["best_epoch"], result["stopped_early"]) == (best, last < 40)
    assert result["steps"] == last * int(rows[0]["step"]) == steps(folder)[0] == weights(folder)["global_step"]
    row = next(row for row in rows if row["epoch"] == str(best))
    assert result["metrics"] == {name: float(row[name]) for name in list(row)[3:] if row[name]}
    table = np.genfromtxt(str(folder.predictions), delimiter=",", names=True)
    assert np.sqrt(np.mean((table["target"] - table["mean"])**2)) == pytest.approx(float(row["test_rmse"]), rel=1e-6)
    assert f"this is the result of epoch {best}, which has the best validation log-likelihood" in folder.log.read_text()
    assert (f"patience {patience} has ended the training" in folder.log.read_text()) == (patience < 100)
    assert "best_epoch" not in json.loads(whole.result.read_text())


def test_evaluate_takes_the_best(finished_run, capsys):
    _, folder = finished_run(**SETTINGS)
    result = json.loads(folder.result.read_text())
    evaluate.main([str(folder.root)])
    assert f"weights of epoch {result['best_epoch']}, the best by validation log-likelihood (patience)" in (
        capsys.readouterr().err)
    metrics = json.loads((folder.evaluation / "metrics.json").read_text())["metrics"]
    assert metrics["log_likelihood"]["value"] == pytest.approx(result["metrics"]["test_log_likelihood"], rel=1e-5)


def test_evaluate_takes_the_newest_before_the_first_evaluation(config, config_file, capsys):
    settings = dict(SETTINGS, epoch_rate=40, steps_per_run=1)
    with interrupted(5), pytest.raises(SystemExit):
        train.main(["--config", str(config_file(**settings))])
    folder = run_folder(config(**settings))
    evaluate.main([str(folder.root)])
    assert "(patience)" not in capsys.readouterr().err


@pytest.mark.parametrize("looks", [7, 60])
def test_interrupted_anywhere_it_is_the_same_run(finished_run, config, config_file, looks):
    """The counter is part of the state: a run that is cut again and again ends after the same epoch."""
    _, whole = finished_run(**dict(SETTINGS, exp_name="whole"))
    settings = dict(SETTINGS, exp_name="cut", steps_per_run=1)
    path, folder = config_file(**settings), run_folder(config(**settings))
    command = ["--config", str(path)]
    for _ in range(200):
        with interrupted(looks):
            try:
                train.main(command)
                break
            except SystemExit as stop:
                assert stop.code == 143
        command = ["--config", str(path), "--resume"]
    assert_same(weights(folder), weights(whole))
    one, other = (json.loads(place.result.read_text()) for place in (whole, folder))
    for name in ("metrics", "steps", "best_epoch", "stopped_early"):
        assert one[name] == other[name]
    assert scores(whole) == scores(folder)
    assert whole.predictions.read_text() == folder.predictions.read_text()


@pytest.mark.parametrize("kept", [0, 1])
def test_a_result_that_is_missing_is_made_again(finished_run, kept):
    """No step is added to a training that has ended, and the best row is in its checkpoint, too."""
    path, folder = finished_run(**SETTINGS)
    before, state = json.loads(folder.result.read_text()), weights(folder)
    folder.result.unlink()
    lines = folder.metrics.read_bytes().splitlines(keepends=True)
    folder.metrics.write_bytes(b"".join(lines[:1 + kept]))
    train.main(["--config", str(path), "--resume"])
    after = json.loads(folder.result.read_text())
    assert (after["metrics"], after["steps"], after["best_epoch"]) == (
        before["metrics"], before["steps"], before["best_epoch"])
    assert_same(weights(folder), state)


def test_steps_per_run_and_other_free_keys_change_nothing(finished_run):
    _, first = finished_run(**dict(SETTINGS, exp_name="first"))
    _, other = finished_run(**dict(SETTINGS, exp_name="other", steps_per_run=1, save_interval=100, max_to_keep=1))
    one, two = (json.loads(folder.result.read_text()) for folder in (first, other))
    assert (one["metrics"], one["best_epoch"], one["steps"]) == (two["metrics"], two["best_epoch"], two["steps"])


def test_a_counter_by_hand():
    progress = Progress(step=8)
    seen = []
    for score in (-2.0, -1.0, -1.0, None, -1.5, -0.5):
        progress = progress.with_evaluation({"valid_log_likelihood": score} if score is not None else {})
        seen.append((progress.best, progress.waited, progress.score, progress.evaluated))
    assert seen == [(-2.0, 0, -2.0, True), (-1.0, 0, -1.0, True), (-1.0, 1, -1.0, True), (-1.0, 1, None, True),
                    (-1.0, 2, -1.5, True), (-0.5, 0, -0.5, True)]


def test_of_equal_ones_the_first_is_the_best(tmp_path):
    """It was saved for its score; whether a later one was depends on save_interval."""
    notes = {tmp_path / f"model-{step}": Progress(step=step, evaluated=True, score=-1.0, regular=step == 30)
             for step in (40, 30, 20, 10)}
    assert [int(path.name[6:]) for path in checkpoints.to_keep(notes, 1)] == [40, 30, 10]


def test_of_equal_ones_the_first_is_restored(finished_run):
    _, folder = finished_run(**dict(SETTINGS, patience=None, epoch=3, save_interval=1))
    notes = checkpoints.progress_notes(folder.checkpoint)
    for prefix, progress in notes.items():
        sums = json.loads(prefix.with_suffix(".json").read_text())["files"]
        equal = progress._replace(score=-1.0)
        note = checkpoints._progress_sum(list(equal), sums)
        prefix.with_suffix(".json").write_text(json.dumps(dict(equal._asdict(), files=sums, note=note)))

    class Saver:
        def restore(self, session, path):
            pass

    restored = checkpoints.restore(None, Saver(), folder.checkpoint, best=True)
    assert len(notes) == 3 and restored.step == min(note.step for note in notes.values())


def test_a_note_of_an_earlier_version_counts(finished_run):
    """It lacks the counter, and its checksum is over the fields that it has."""
    _, folder = finished_run(epoch=6)
    path = folder.checkpoint / "model-48.json"
    written = json.loads(path.read_text())
    old = {name: written[name] for name in Progress._fields if name not in ("best", "waited")}
    path.write_text(json.dumps(dict(old, files=written["files"], note=checkpoints._progress_sum(
        list(old.values()), written["files"]))))
    newest = next(iter(checkpoints.progress_notes(folder.checkpoint).values()))
    assert newest.step == 48 and (newest.best, newest.waited) == (None, 0)
    path.write_text(path.read_text().replace('"step": 48', '"step": 48, "waited": 3'))  # not what the checksum is over
    assert next(iter(checkpoints.progress_notes(folder.checkpoint).values())) is None


def test_a_damaged_best_checkpoint_gives_the_next_best(finished_run, capsys):
    path, folder = finished_run(**SETTINGS)
    best = json.loads(folder.result.read_text())["best_epoch"]
    folder.result.unlink()
    per_epoch = int(read_rows(folder.metrics)[0]["step"])
    (folder.checkpoint / f"model-{best * per_epoch}.index").write_bytes(b"")
    train.main(["--config", str(path), "--resume"])
    result = json.loads(folder.result.read_text())
    assert f"model-{best * per_epoch} is damaged or incomplete and is skipped" in capsys.readouterr().err
    assert result["best_epoch"] != best
    assert result["metrics"]["valid_log_likelihood"] == scores(folder)[result["best_epoch"]]


def test_it_needs_validation_rows(config):
    with pytest.raises(UserError, match="patience 3 needs validation rows: set validation_fraction, e.g. to 0.1"):
        config(patience=3)


def test_a_run_that_it_has_ended_is_not_lengthened(finished_run, capsys):
    path, folder = finished_run(**SETTINGS)
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        train.main(["--config", str(path), "--resume", "--epochs", "50"])
    error = capsys.readouterr().err
    assert stop.value.code == 2 and error.count("\n") == 1 and "patience 3 has ended the run in" in error
    assert folder.result.is_file()


def test_a_longer_run_goes_on_counting(finished_run):
    """Cut into a short run and its lengthening, it ends after the same epoch, with the same result."""
    settings = dict(SETTINGS, lr_decay_interval=40)
    _, whole = finished_run(**dict(settings, exp_name="whole"))
    last = max(scores(whole))
    path, folder = finished_run(**dict(settings, exp_name="short", epoch=last - 1))
    assert not json.loads(folder.result.read_text())["stopped_early"]
    train.main(["--config", str(path), "--resume", "--epochs", "40"])
    one, other = (json.loads(place.result.read_text()) for place in (whole, folder))
    for name in ("metrics", "steps", "best_epoch", "stopped_early"):
        assert one[name] == other[name]


def test_fits_that_choose_kl_do_not_stop(config):
    made = selection.candidate_plan(run.plan(config(kl_candidates=[1.0, 0.1], **SETTINGS)), 0.1)
    assert made.config.patience is None


def test_explain(config_file, capsys):
    train.main(["--config", str(config_file(**SETTINGS)), "--explain"])
    assert ("ends when the validation log-likelihood has not risen for 3 evaluations; the result is that of the best "
            "one (patience)") in capsys.readouterr().out
