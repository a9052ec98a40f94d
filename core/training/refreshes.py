"""Keeps the refresh periods of a run under `auto_refresh` when it is resumed by another version of this code.

The multiple of the given periods follows from estimates in core/training/cost.py, which a later version may refine.
config.json therefore records the one with which a run began.
"""
from typing import Any, Dict

from core.training.design import Plan, with_multiple
from misc.folders import REFRESH_MULTIPLE, Folder
from misc.records import read_json


def about(plan: Plan) -> Dict[str, Any]:
    """Returns what config.json and result.json say of the periods; nothing of those that the config alone gives."""
    return {REFRESH_MULTIPLE: plan.design.refresh_multiple} if plan.config.auto_refresh else {}


def resumed(plan: Plan, folder: Folder) -> Plan:
    """Returns the plan of a run that is resumed in its folder, with the periods with which it began.

    Earlier versions did not record them: such a run has those of this version.
    """
    multiple = read_json(folder.config).get(REFRESH_MULTIPLE)
    return plan if multiple is None else plan._replace(design=with_multiple(plan.design, multiple))
