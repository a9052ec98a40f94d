"""A trained run in Python."""
import contextlib
import io
import pathlib
import shutil
import tempfile
import threading
import warnings
import weakref
import zipfile
from typing import Any, Dict, Iterator, List, Optional, Sequence, Union

import numpy as np

from core.api.posterior import LayerPosterior, log_prob, posterior_of
from core.assessment.calibration_file import Calibration, read_calibration
from core.assessment.restore import Restored, data_without_rows, open_run
from core.assessment.summaries import SUMMARIES, Asked, with_calibration
from core.export.arguments import Asked as AskedExports
from core.export.arguments import check
from core.export.export import export
from core.training.evaluation import rows_of
from core.training.outputs import frozen_weights, outputs_of_weights
from data_loader.other_rows import encode_as, match_columns
from data_loader.table_memory import table_of_rows
from misc.config import Config
from misc.errors import UserError
from misc.folders import Folder, folder_at, read_config
from misc.records import read_result

PathLike = Union[str, pathlib.Path]
KEPT = ("config", "model", "reference", "result", "checkpoint", "calibration")  # files of Folder that predictions need


class TrainedRun:
    """A trained run, restored from its folder when it is first used.

    It can be pickled: its files travel with it. It may be used from several threads, which wait for each other. The
    network is held in memory, in a TensorFlow session of its own, until `close`, or until the object is deleted.

    Args:
      folder: of the run.
      particles: number of weight draws of predictions; default: the run's test_particles.
      best: whether to take the checkpoint of the best validation log-likelihood instead of the newest.
      device: auto, cpu or gpu.
      predictive: sampled or linearised; default: the run's.

    Raises UserError if the folder holds no run. Whatever else is wrong with it is raised when it is first used.
    """

    def __init__(self, folder: PathLike, particles: Optional[int] = None, best: bool = False,
                 device: str = "auto", predictive: Optional[str] = None) -> None:
        keys = {"test_particles": particles, "predictive": predictive}
        self._overrides: Dict[str, Any] = {name: value for name, value in keys.items() if value is not None}
        self._best, self._device = best, device
        self._folder: Optional[Folder] = folder_at(pathlib.Path(folder))
        self._packed: Optional[bytes] = None
        self._config = read_config(self._folder.root, self._overrides)[0]
        self._result = read_result(self._folder.result)
        self._ready()

    def _ready(self) -> None:
        self._run: Optional[Restored] = None
        self._lock = threading.RLock()

    # What it is.

    @property
    def config(self) -> Config:
        """The config of the run."""
        return self._config

    @property
    def metrics(self) -> Dict[str, float]:
        """The final metrics, by their names in result.json; {} if the run is not finished."""
        return dict(self._result["metrics"]) if self._result else {}

    @property
    def layers(self) -> List[str]:
        """Names of the layers, in their order; batch normalisations are among them."""
        return [layer.spec.name for layer in self._restored().design.layers]

    @property
    def data(self) -> Any:
        """What predictions know of the data: a TableData or an ImageData without rows."""
        return self._restored().data

    # Predictions.

    def predict(self, X: Any, interval: Optional[float] = None, quantiles: Sequence[float] = (), samples: int = 0,
                seed: Optional[int] = None, calibrated: bool = False) -> Dict[str, np.ndarray]:
        """Predicts rows of a table, or images, as predict.py does.

        Args:
          X: a DataFrame with the columns of the run's table, in any order, or an array [n, d] in their order; or
            images, uint8 [n, height, width, channels].
          interval: probability of the central interval; default: 0.9, or that of the calibration.
          quantiles: levels of further quantiles.
          samples: number of draws from the predictive distribution.
          seed: of these; default: that of the run.
          calibrated: whether to add calibrated_std, calibrated_lower and calibrated_upper; or to calibrate confidence
            and p_CLASS, and to add set.

        Returns {name: a value per row, [n]}: mean, std, epistemic_std, lower, upper, quantile_Q, sample_N, in the
        target's units, and with several targets each with _NAME; or predicted, confidence, entropy, mutual_information
        (nats), p_CLASS, sample_N. Raises UserError for rows that do not fit the run, and if it has no calibration that
        fits.
        """
        wrong = [level for level in (interval, *quantiles) if level is not None and not 0.0 < level < 1.0]
        if wrong:
            raise UserError(f"interval and quantiles must be above 0 and below 1, got {wrong[0]!r}")
        run = self._restored()
        asked = with_calibration(Asked(interval, tuple(quantiles), samples, calibrated=calibrated), run,
                                 self._read_calibration() if calibrated else None)
        draws = self.draws(X)
        return SUMMARIES[run.config.kind](
            [draws], [run.data], asked, 0, run.config.seed if seed is None else seed)

    def draws(self, X: Any) -> Any:
        """Returns draws from the predictive distribution of rows X, standardised, as `core.metrics.draws.Draws`.

        For classes these are logits, [K, n, C], or `core.metrics.gaussian_outputs.ProbitDraws` if predictive is
        linearised.
        """
        x = self._inputs(X)
        with self._lock:  # or another thread could close the session
            run = self._restored()
            return run.design.task.draws(run.session, run.model, x, run.data, self._noise)

    def _inputs(self, X: Any) -> np.ndarray:
        """Returns what the network takes: inputs [n, d] as standardised as the training rows were, or images."""
        data = self._restored().data
        if data.spec.pixels is not None:
            images = np.asarray(X)
            if images.dtype != np.uint8 or images.shape[1:] != tuple(data.spec.shape):
                raise UserError(f"images must be uint8, n times {data.spec.shape}, got {images.dtype} {images.shape}")
            return images
        matched = match_columns(table_of_rows(X, "X"), data, needs_target=False)
        x, notices = encode_as(data, matched)
        for notice in (*matched.notices, *notices):
            warnings.warn(notice, stacklevel=4)
        return x

    # Weights.

    def sample_weights(self, n: Optional[int] = None) -> Dict[str, np.ndarray]:
        """Returns n draws of all weights, {layer: [n, d_in + 1, d_out]}, in the network's own coordinates.

        The last row of a layer are its biases. The first draws are those of the predictions, which are functions of the
        run's seed; n defaults to their number. Without weight noise, all draws are the mean.
        """
        if n is not None and n < 1:
            raise UserError(f"n must be at least 1, got {n}")
        with self._lock:
            run = self._restored()
            weights = frozen_weights(run.session, run.model, rows_of(run.data), n_draws=n).weights
        wanted = n or max(len(weights[0]), 1)
        return {name: np.repeat(values, wanted, axis=0) if len(values) == 1 else values[:wanted]
                for name, values in zip(self.layers, weights)}

    def posterior(self, layer: str) -> LayerPosterior:
        """Returns q(W) of a layer: a point mass for scale and shift of a batch normalisation, [2, d_out].

        Raises UserError for a name that is none of `layers`.
        """
        if layer not in self.layers:
            raise UserError(f"there is no layer {layer!r}: the layers are {', '.join(self.layers)}")
        with self._lock:
            return posterior_of(self._restored(), layer)

    def log_prob_weights(self, weights: Dict[str, np.ndarray]) -> np.ndarray:
        """Returns log q(w), [K] in nats, of weights {layer: [K, d_in + 1, d_out]} of all layers.

        Raises UserError for a layer without weight noise, or whose weights are missing or have another shape.
        """
        self._check_layers(weights)
        posteriors = [self.posterior(layer) for layer in self.layers]
        n_draws = len(weights[self.layers[0]])
        return sum(log_prob(posterior, weights[posterior.layer], n_draws) for posterior in posteriors)

    def network(self, weights: Dict[str, np.ndarray], X: Any) -> np.ndarray:
        """Returns the outputs [K, n, n_outputs] of the network with given weights, standardised; arguments as above."""
        self._check_layers(weights)
        x = self._inputs(X)
        with self._lock:
            run = self._restored()
            return outputs_of_weights(run.session, run.model, [weights[layer] for layer in self.layers], x,
                                      rows_of(run.data))

    def _check_layers(self, weights: Dict[str, np.ndarray]) -> None:
        missing = [layer for layer in self.layers if layer not in weights]
        if missing:
            raise UserError(f"weights of the layer {missing[0]} are missing")

    # Elsewhere.

    def export(self, npz: Optional[PathLike] = None, onnx: Optional[PathLike] = None,
               saved_model: Optional[PathLike] = None, particles: Optional[int] = None,
               factors: bool = False) -> List[pathlib.Path]:
        """Writes the run in other forms, as export.py does; returns the paths. Raises UserError as export.py."""
        npz, onnx, saved_model = (None if path is None else pathlib.Path(path) for path in (npz, onnx, saved_model))
        asked = AskedExports(npz=npz, onnx=onnx, saved_model=saved_model, factors=factors, best=self._best,
                             particles=self._overrides.get("test_particles") if particles is None else particles)
        check(asked)
        with self._on_disk() as folder:
            return export(folder.root, asked)

    def save(self, folder: PathLike) -> None:
        """Writes the run's files into a new folder, which `load_run`, predict.py and evaluate.py --data can read."""
        place = pathlib.Path(folder)
        if place.exists() and not (place.is_dir() and not any(place.iterdir())):
            raise UserError(f"{place} is {'not empty' if place.is_dir() else 'a file'}: give a new folder")
        with self._on_disk() as own:
            _copy(own, folder_at(place))

    def close(self) -> None:
        """Frees the session; the next use opens a new one."""
        with self._lock:
            if self._run is not None:
                self._finalizer()
                self._run = None

    def _restored(self) -> Restored:
        with self._lock:
            if self._run is None:
                with self._on_disk() as folder:
                    self._run = open_run(folder.root, self._overrides, self._device, self._best, data_without_rows)
                self._finalizer = weakref.finalize(self, self._run.session.close)
                self._noise = self._run.noise()
            return self._run

    def _read_calibration(self) -> Optional[Calibration]:
        with self._on_disk() as folder:
            return read_calibration(folder)

    @contextlib.contextmanager
    def _on_disk(self) -> Iterator[Folder]:
        """Yields a folder with the run's files."""
        if self._packed is None:
            yield self._folder
            return
        place = pathlib.Path(tempfile.mkdtemp(prefix="run"))
        try:
            zipfile.ZipFile(io.BytesIO(self._packed)).extractall(str(place))
            yield folder_at(place)
        finally:
            shutil.rmtree(str(place), ignore_errors=True)

    def pack(self) -> "TrainedRun":
        """Takes the run's files into memory, so that its folder is no longer needed. Returns self."""
        if self._packed is None:
            self._packed, self._folder = _packed(self._folder), None
        return self

    def __getstate__(self) -> Dict[str, Any]:
        packed = self._packed if self._packed is not None else _packed(self._folder)
        return {"_overrides": self._overrides, "_best": self._best, "_device": self._device, "_folder": None,
                "_packed": packed, "_config": self._config, "_result": self._result}

    def __setstate__(self, state: Dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._ready()

    def __repr__(self) -> str:
        return f"TrainedRun({self._config.optimizer} on {self._config.dataset}, {self._config.model_name})"


def load_run(folder: PathLike, particles: Optional[int] = None, best: bool = False,
             device: str = "auto", predictive: Optional[str] = None) -> TrainedRun:
    """Returns the run in a folder that train.py wrote to; see TrainedRun. Raises UserError if it cannot be read."""
    run = TrainedRun(folder, particles, best, device, predictive)
    run._restored()
    return run


def _packed(folder: Optional[Folder]) -> bytes:
    assert folder is not None, "a run that is not packed has a folder"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for path in _kept_files(folder):
            archive.write(str(path), str(path.relative_to(folder.root)))
    return buffer.getvalue()


def _copy(own: Folder, other: Folder) -> None:
    for path in _kept_files(own):
        target = other.root / path.relative_to(own.root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(str(path), str(target))


def _kept_files(folder: Folder) -> Iterator[pathlib.Path]:
    for name in KEPT:
        path = getattr(folder, name)
        yield from (sorted(path.rglob("*")) if path.is_dir() else [path] if path.is_file() else [])
