"""Longer runs: training that goes on beyond config's `epoch`, from the newest checkpoint (`train.py --epochs`).

Config's `epoch` stays that of the original run, and with it all that follows from it: decays, held_out_epochs,
auto_schedule. Only the number of epochs that are trained, `Design.n_epochs`, grows.
"""
import contextlib
from typing import Any, Dict, Optional

from core.training import checkpoints
from core.training.design import Plan
from misc.config import Config
from misc.errors import RunError, UserError
from misc.folders import EXTENDED_FROM, EXTENDED_TO, Folder
from misc.records import read_json, write_json


def continued(plan: Plan, folder: Folder, epochs: Optional[int] = None) -> Plan:
    """Returns the plan of the run in the folder, which can be resumed, to the end of its epoch number `epochs`.

    None: to where it was to end. Raises UserError if that is no lengthening; writes nothing.
    """
    if epochs is None:
        return with_length(plan, read_json(folder.config).get(EXTENDED_TO, plan.config.epoch))
    if epochs <= plan.config.epoch:
        raise UserError(f"--epochs {epochs}: the run has {plan.config.epoch} epochs by its config: give more to "
                        "lengthen it, or leave --epochs out to finish it")
    Config.from_dict(dict(plan.config.model_dump(exclude_unset=True), epoch=epochs), "--epochs")  # its limits
    notes = [note for note in checkpoints.progress_notes(folder.checkpoint).values() if note]
    newest = notes[0] if notes else checkpoints.Progress()
    trained = newest.step // plan.design.steps_per_epoch
    if epochs <= trained:
        raise UserError(f"--epochs {epochs}: the run in {folder.root} has been trained for {trained} epochs: give more "
                        "to lengthen it")
    if plan.config.patience is not None and newest.waited >= plan.config.patience:
        raise UserError(f"--epochs {epochs}: patience {plan.config.patience} has ended the run in {folder.root} after "
                        f"{trained} epochs: start it anew with more patience")
    return with_length(plan, epochs)


def with_length(plan: Plan, epochs: int) -> Plan:
    """Returns the plan with another number of epochs; what follows from config's `epoch` stays."""
    return plan._replace(design=plan.design._replace(n_epochs=epochs))


def lengths(plan: Plan) -> Dict[str, Any]:
    """Returns what config.json and result.json say of a lengthened run, in epochs; nothing of any other."""
    if plan.design.n_epochs == plan.config.epoch:
        return {}
    return {EXTENDED_FROM: plan.config.epoch, EXTENDED_TO: plan.design.n_epochs}


def record(plan: Plan, folder: Folder) -> bool:
    """Writes a new length into config.json, and removes the result of the shorter run. Tells whether it is new."""
    before, after = read_json(folder.config), lengths(plan)
    if not after or before.get(EXTENDED_TO) == plan.design.n_epochs:
        return False
    try:
        with contextlib.suppress(FileNotFoundError):
            folder.result.unlink()  # first: a result belongs to the length in config.json
        write_json(folder.config, dict(before, **after))
    except OSError as error:
        raise RunError(f"cannot write to {folder.root} ({error.strerror}): make room") from None
    return True
