"""Fixtures: runs on a table of houses, and what predict.py refuses."""
import numpy as np
import pandas
import pytest

import predict
from tests.predict.houses import houses, predicted, train_on, write_table


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A folder with houses.csv."""
    folder = tmp_path_factory.mktemp("houses")
    write_table(folder, houses())
    return folder


@pytest.fixture(scope="session")
def table():
    """The rows of houses.csv."""
    return houses()


@pytest.fixture(scope="session")
def run(folder):
    """Folder of a run with Gaussian noise."""
    return train_on(folder / "houses.csv", "gaussian")


@pytest.fixture(scope="session")
def student(folder):
    """Folder of a run of another split, whose noise is Student's t, fitted to leave-one-out predictions."""
    return train_on(folder / "houses.csv", "student", seed=2, optimizer="ekfac", likelihood="student_t",
                    noise_update="conjugate", predictive_noise="leave_one_out", learning_rate=0.1)


@pytest.fixture(scope="session")
def iris(tmp_path_factory):
    """Folder of a run that classifies iris, whose classes have names."""
    from sklearn.datasets import load_iris

    data = load_iris()
    frame = pandas.DataFrame(data.data, columns=["sepal length", "sepal width", "petal length", "petal width"])
    frame.insert(2, "species", np.array(["Iris setosa", "7", "virginica, late"])[data.target])
    folder = tmp_path_factory.mktemp("iris")
    return train_on(write_table(folder, frame, "iris.csv"), "iris", mode="classification", target="species", epoch=4,
                    row_id=None, missing=None, alpha=None, beta=None, omega=None, noise_prior_shape=None,
                    noise_prior_rate=None, learning_rate=0.01, kl_clip=0.01, clip_warmup=0, kl_warmup=0, TCov=3,
                    TEigen=6, TScale=3, epoch_rate=2, save_interval=2)


@pytest.fixture
def of(capsys):
    """Function (run, file of rows, *flags) -> ({column: array}, stderr) of predict.py."""
    return lambda run, rows, *flags: predicted(capsys, run, rows, *flags)


@pytest.fixture
def rows_file(tmp_path):
    """Function (frame, **options of to_csv) -> path of a file with these rows."""
    return lambda frame, name="new.csv", **options: write_table(tmp_path, frame, name, **options)


def refused(capsys, main, *arguments):
    """Runs a command that must end with exit code 2; returns the lines on stderr."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    error = capsys.readouterr().err
    assert stop.value.code == 2, error
    return error.strip().split("\n")


@pytest.fixture
def refuse(capsys):
    """Function (words of the message, *arguments): asserts that predict.py says them in one line, with exit code 2."""

    def check(message, *arguments):
        lines = refused(capsys, predict.main, *arguments)
        assert lines[-1].startswith("predict.py: "), lines
        assert not [line for line in lines[:-1] if not line.startswith(("note: ", "left out: "))], lines
        assert message in lines[-1], lines[-1]

    return check
