"""Fixtures: trained runs, and evaluations without figures."""
import pytest

from core.assessment.figures import FIGURES
from core.training import evaluation
from tests.assessment.runs import DIGITS, TOY, train_run


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    """Folders of two runs on digits with other seeds and one split."""
    folder = tmp_path_factory.mktemp("digits")
    return [train_run(folder, **DIGITS, exp_name=f"run{seed}", seed=seed) for seed in (1, 2)]


@pytest.fixture(scope="session")
def toys(tmp_path_factory):
    """{method: folder of its run on toy1d}."""
    folder = tmp_path_factory.mktemp("toy")
    return {method: train_run(folder, **TOY, optimizer=method, exp_name=method, beta=0.05)
            for method in ("ekfac", "kfac", "diag", "bbb")}


@pytest.fixture
def no_figures(monkeypatch):
    """Evaluations without figures, and runs without the one of misclassified digits: drawing takes longest."""
    for name in list(FIGURES):
        monkeypatch.delitem(FIGURES, name)
    monkeypatch.setattr(evaluation, "misclassified_figure", lambda *_: None)
