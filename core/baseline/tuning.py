"""Hyper-parameter search inside the training rows of one split, with optuna.

Every trial is trained on folds of the training rows and evaluated on the fold that is left out; test rows are never
used. A trial that falls behind the median of the earlier ones after some folds is pruned. A search that was killed
and is started again continues with the same trials as an uninterrupted one.
"""
import json
import pathlib
import shutil
import warnings
from typing import Any, Dict, List, Optional, Tuple, Union

import optuna
import pydantic
from typing_extensions import Literal

from core.baseline.archive import archive_paths
from core.baseline.kinds import KINDS
from core.training import run
from misc.config import Config
from misc.errors import RunError, UserError
from misc.folders import Folder, folder_at
from misc.records import read_json, read_rows, write_json, write_rows
from misc.seeding import stream_seed
from misc.synonyms import key_hint

# Keys that say what is measured, where and how: numbers for different values of these cannot be compared.
FIXED = {"mode", "exp_name", "dataset", "data_path", "experiments_path", "seed", "split", "protocol", "runs",
         "evaluate_on", "validation_fraction", "validation_fold", "optimizer", "test_particles", "auto_schedule",
         "kl_candidates", "init_from", "stratified", "test_fraction", "folds"}

STARTUP_TRIALS = 5  # random ones, before the sampler learns from them and the pruner compares with them

Settings = Dict[str, Any]  # the search space of `read_space`, or values of config keys


class Range(pydantic.BaseModel):
    """Numbers from low to high; integers for an integer key."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    low: float
    high: float
    log: bool = False


class Choices(pydantic.BaseModel):
    """One of a list of values; a value may be a list itself, such as [20, 20] for the key `hidden`."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)
    choices: List[Union[bool, int, float, str, List[Any], None]] = pydantic.Field(min_length=1)

    @pydantic.model_validator(mode="before")
    @classmethod
    def _from_list(cls, value: Any) -> Any:
        """Reads a bare list as choices."""
        return {"choices": value} if isinstance(value, list) else value


class Space(pydantic.BaseModel):
    """A search: what is varied, how often, and how a trial is evaluated."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=False)
    trials: int = pydantic.Field(20, ge=1)
    folds: int = pydantic.Field(3, ge=1)
    validation_fraction: float = pydantic.Field(0.2, gt=0, le=0.5)
    metric: Literal["log_likelihood", "rmse", "accuracy"] = "log_likelihood"
    during_search: Dict[str, Any] = {}
    space: Dict[str, Union[Range, Choices]] = pydantic.Field(min_length=1)


def read_space(path: Union[str, pathlib.Path], config: Config) -> Settings:
    """Returns the Space in a JSON file, as a dict. Raises UserError if a run of `config` could not be searched so."""
    space = _parse_space(path)
    for name in [*space.space, *space.during_search]:
        if name not in Config.model_fields or name in FIXED:
            known = sorted(set(Config.model_fields) - FIXED)
            what = "cannot be searched over" if name in FIXED else f"is not a config key{key_hint(name, known)}"
            raise UserError(f"{path}: {name} {what}")
    objectives = KINDS[config.mode].objectives
    if space.metric not in objectives:
        raise UserError(f"{path}: metric {space.metric} is none of mode {config.mode}: give {' or '.join(objectives)}")
    if "kl" in space.space and config.kl_candidates:
        raise UserError(f"{path}: kl has no effect while the config has kl_candidates: --set kl_candidates=null")
    if space.folds * space.validation_fraction > 1:
        raise UserError(f"{path}: {space.folds} folds of validation_fraction {space.validation_fraction:g} are more "
                        "than all training rows: lower one of them")
    for name, what in space.space.items():
        if isinstance(what, Range) and (what.low >= what.high or (what.log and what.low <= 0)):
            raise UserError(f"{path}: {name}: low must be below high, and above 0 for log")
        for value in what.choices if isinstance(what, Choices) else (what.low, what.high):
            value = int(value) if _is_integer(name) and isinstance(value, float) and value == int(value) else value
            try:
                _inner_config(config, space, {name: value}, 0)
            except UserError as error:
                raise UserError(f"{path}: {name}: {value!r} does not work: {error}") from None
    run.plan(_inner_config(config, space, {}, space.folds - 1))  # the data have rows for all folds
    return space.model_dump()


def _parse_space(path: Union[str, pathlib.Path]) -> Space:
    """Returns the Space in a JSON file. Raises UserError if it is not one."""
    if not pathlib.Path(path).is_file():
        raise UserError(f"--tune {path}: there is no such file")
    values: Any = None
    try:
        values = read_json(path)
        return Space(**values)
    except pydantic.ValidationError as error:
        where, message = _first_mistake(error, values)
        raise UserError(f"{path}: {where}: {message}") from None
    except (ValueError, TypeError) as error:
        raise UserError(f"{path} is not a JSON object: {error}") from None


def _first_mistake(error: pydantic.ValidationError, values: Settings) -> Tuple[str, str]:
    """Returns (place, message) of the first error that is about what was meant: a range, or choices."""
    errors = error.errors()
    for one in errors:
        loc = [str(part) for part in one["loc"]]
        if loc[0] == "space" and len(loc) > 2:
            given = values["space"][loc[1]]
            meant = Choices if isinstance(given, list) or (isinstance(given, dict) and "choices" in given) else Range
            if loc[2] != meant.__name__:
                continue
            del loc[2]
        return ".".join(loc), one["msg"]
    return ".".join(map(str, errors[0]["loc"])), errors[0]["msg"]


def n_epochs(config: Config, space: Settings) -> int:
    """Returns the epochs of training that a search and the final run take, if nothing is pruned."""
    inner = space["during_search"].get("epoch", config.epoch)
    return space["trials"] * space["folds"] * inner + config.epoch


def tune(config: Config, space: Settings, folder: Folder, device: str = "auto") -> Config:
    """Returns the Config with the values that did best on the validation folds of its split.

    Leaves in the folder's tuning/: request.json (what was searched), study.journal (optuna's), trials.csv (a row per
    trial) and chosen.json. Only what is missing there is done; another search that is there is archived.
    """
    home = folder.root / "tuning"
    request = _request(config, space, run.plan(config, device).data.rows_hash)
    if not _is_of(home, request):
        archive_paths(home)
    if not home.exists():
        home.mkdir(parents=True)
        write_json(home / "request.json", request)
    chosen = home / "chosen.json"
    if not chosen.is_file():
        write_json(chosen, _search(config, Space(**space), home, device))
    return with_values(config, read_json(chosen)["values"])


def search_progress(folder: Folder, config: Config, space: Settings,
                    rows_hash: str) -> Tuple[int, Optional[Config]]:
    """Returns (number of trials done, the Config that was chosen or None) of this very search in a run folder."""
    home = folder.root / "tuning"
    if not _is_of(home, _request(config, space, rows_hash)):
        return 0, None
    trials = len(read_rows(home / "trials.csv")) if (home / "trials.csv").is_file() else 0
    if not (home / "chosen.json").is_file():
        return trials, None
    return trials, with_values(config, read_json(home / "chosen.json")["values"])


def with_values(config: Config, values: Settings) -> Config:
    """Returns the Config with other values of some keys."""
    return Config.from_dict(dict(config.model_dump(exclude_unset=True), **values))


def _request(config: Config, space: Settings, rows_hash: str) -> Settings:
    """Returns all that the outcome of a search depends on, as it is read back from request.json."""
    settings = config.model_dump(exclude=run.FREE_ON_RESUME)
    return json.loads(json.dumps({"space": space, "config": settings, "rows_hash": rows_hash}))


def _is_of(home: pathlib.Path, request: Settings) -> bool:
    return (home / "request.json").is_file() and read_json(home / "request.json") == request


def _search(config: Config, space: Space, home: pathlib.Path, device: str) -> Settings:
    """Runs the trials that are missing; returns what chosen.json holds."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    name, direction = KINDS[config.mode].objectives[space.metric]
    study = _open_study(home, direction)
    for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)  # cut short by a crash; repeated below
    _write_trials(home / "trials.csv", _ended(study), space)
    for number in range(len(_ended(study)), space.trials):
        study.sampler = optuna.samplers.TPESampler(  # a function of the earlier trials, not of this process
            seed=stream_seed(config.seed, "tuning", number), n_startup_trials=STARTUP_TRIALS)
        trial = study.ask()
        values = {key: _suggest(trial, key, what) for key, what in space.space.items()}
        _evaluate_trial(study, trial, [_inner_config(config, space, values, fold) for fold in range(space.folds)],
                        home / f"trial{number}", name, device)
        _write_trials(home / "trials.csv", _ended(study), space)
    for leftover in home.glob("trial[0-9]*"):  # of a crash right after a trial
        shutil.rmtree(str(leftover))
    complete = [trial for trial in _ended(study) if trial.state == optuna.trial.TrialState.COMPLETE]
    if not complete:
        raise RunError(f"no trial of the search ended well (see {home / 'trials.csv'}): widen the search space")
    best = study.best_trial
    values = {key: _choice(space.space[key], stored) for key, stored in best.params.items()}
    return {"values": values, space.metric: best.value, "evaluated_on": f"{space.folds} validation folds",
            "trials": len(_ended(study)), "pruned": len(_ended(study)) - len(complete)}


def _open_study(home: pathlib.Path, direction: str) -> optuna.study.Study:
    from optuna.storages.journal import JournalFileBackend

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # journal storage was called experimental in optuna 4.0
        storage = optuna.storages.JournalStorage(JournalFileBackend(str(home / "study.journal")))
        pruner = optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS, n_warmup_steps=0)
        return optuna.create_study(storage=storage, study_name="tuning", load_if_exists=True, direction=direction,
                                   pruner=pruner)


def _ended(study: optuna.study.Study) -> List[optuna.trial.FrozenTrial]:
    """Returns the trials that were completed or pruned."""
    states = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    return study.get_trials(deepcopy=False, states=states)


def _evaluate_trial(study: optuna.study.Study, trial: optuna.trial.Trial, configs: List[Config],
                    scratch: pathlib.Path, metric: str, device: str) -> None:
    """Trains a config per fold; tells the study the mean of their validation metrics, or that the trial was pruned."""
    scores = []
    for fold, config in enumerate(configs):
        folder = folder_at(scratch / f"fold{fold}")
        folder.root.mkdir(parents=True, exist_ok=True)
        try:
            run.finish(config, folder, device)
        except RunError as error:
            trial.set_user_attr("ended", str(error))
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            break
        scores.append(read_json(folder.result)["metrics"][metric])
        trial.report(sum(scores) / len(scores), fold)
        if fold + 1 < len(configs) and trial.should_prune():
            trial.set_user_attr("ended", f"behind the median after {fold + 1} of {len(configs)} folds")
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            break
    else:
        study.tell(trial, sum(scores) / len(scores))
    shutil.rmtree(str(scratch))


def _suggest(trial: optuna.trial.Trial, key: str, what: Union[Range, Choices]) -> Any:
    if isinstance(what, Choices):
        return _choice(what, trial.suggest_categorical(key, [_as_text(choice) for choice in what.choices]))
    if _is_integer(key):
        return trial.suggest_int(key, int(what.low), int(what.high), log=what.log)
    return trial.suggest_float(key, what.low, what.high, log=what.log)


def _as_text(choice: Any) -> Any:
    """Returns the choice, a list as JSON: optuna stores no lists."""
    return json.dumps(choice) if isinstance(choice, list) else choice


def _choice(what: Union[Range, Choices], stored: Any) -> Any:
    """Returns the value that optuna has stored as `_as_text`."""
    lists = [choice for choice in what.choices if isinstance(choice, list)] if isinstance(what, Choices) else []
    return next((choice for choice in lists if _as_text(choice) == stored), stored)


def _is_integer(key: str) -> bool:
    return Config.model_fields[key].annotation in (int, Optional[int])


def _inner_config(config: Config, space: Space, values: Settings, fold: int) -> Config:
    """Returns the Config of a trial on one fold."""
    return with_values(config, dict(space.during_search, evaluate_on="validation", validation_fold=fold,
                                    validation_fraction=space.validation_fraction, **values))


def _write_trials(path: pathlib.Path, trials: List[optuna.trial.FrozenTrial], space: Space) -> None:
    columns = ["trial", "state", space.metric, "folds", *space.space, "ended"]
    rows = []
    for number, trial in enumerate(trials):
        steps = trial.intermediate_values
        row = {"trial": number, "state": trial.state.name.lower(), "folds": len(steps),
               space.metric: steps[max(steps)] if steps else "", "ended": trial.user_attrs.get("ended", "")}
        rows.append(dict(row, **trial.params))
    write_rows(path, columns, rows)
