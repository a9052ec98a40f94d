"""One run's settings, read from JSON and checked before anything is built.

`Config` is the one table of keys: validation, `--set`, `--help-config` and the table in
README.md (misc/config_table.py) are all made from it. A key without a default must be given.
"""
import json
import math
import typing

import pydantic
from typing_extensions import Literal

from misc.config_file import read_settings
from misc.errors import UserError
from misc.lookup import did_you_mean

REGRESSION, CLASSIFICATION = "regression", "classification"
TINIEST, LARGEST = 1e-30, 1e30  # of float keys: what is squared or divided by may still be a float32
PATH = r"^[^\x00]+$"
NAME = r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$"  # of a file or folder, never a path

PATTERNS = {NAME: "a name has letters, digits, _ . + - only and begins with a letter or digit",
            PATH: "a path has at least one character and none of code 0"}


def key(default, meaning, mode=None, **limits):
    """A config key: default (... if it must be given), a sentence, the one mode it belongs to, its range."""
    return pydantic.Field(default, description=meaning, json_schema_extra={"mode": mode}, **limits)


class Config(pydantic.BaseModel):
    """Settings of one run. Frozen; numbers are plain JSON numbers of the stated type."""

    model_config = pydantic.ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, protected_namespaces=()
    )

    # What to train, on what.
    mode: Literal["regression", "classification"] = key(REGRESSION, "Selects likelihood, data and metrics.")
    exp_name: typing.Optional[str] = key(
        None, "Name of the run's folder, experiments/DATASET/EXP_NAME. Default: OPTIMIZER_DATASET.",
        pattern=NAME, max_length=200,
    )
    dataset: str = key(..., "A known data set (`--list`) or the NAME of a file NAME.data in data_path.",
                       pattern=NAME, max_length=200)
    data_path: str = key("data", "Folder searched first for data files.", pattern=PATH)
    experiments_path: str = key("experiments", "Folder that the runs' folders go to.", pattern=PATH)
    optimizer: str = key(..., "The method; `--list` shows all.")
    fisher_approx: typing.Optional[Literal["eigen", "kron", "diagonal"]] = key(
        None, "Redundant with optimizer: accepted from older files, a notice if it disagrees, otherwise unused.")
    model_name: str = key(..., "The network; `--list` shows all.")
    hidden: typing.Optional[typing.List[pydantic.PositiveInt]] = key(
        None, "Widths of the hidden layers of model_name ffn.", min_length=1)
    width: float = key(1.0, "Factor on all widths of vgg, resnet and lenet.", CLASSIFICATION, gt=0)
    activation: Literal["relu", "tanh", "elu"] = key("relu", "Non-linearity of the hidden layers.")

    # How long, on how much at a time.
    epoch: int = key(1000, "Passes over the training rows.", ge=1, le=10**6)
    batch_size: int = key(10, "Training rows per step.", ge=1)
    test_batch_size: int = key(1000, "Rows per evaluation batch; changes memory, not results.", ge=1)
    train_particles: int = key(10, "Weight draws per step, each shared by the whole minibatch.", ge=1)
    test_particles: int = key(100, "Weight draws in evaluation.", ge=1)
    num_workers: int = key(2, "Accepted from older files; minibatches are made inside the graph and need no workers.",
                           ge=0)
    epoch_rate: typing.Optional[int] = key(
        None, "Epochs between evaluations. Default: 10 for regression, 1 for classification.", ge=1)
    save_interval: typing.Optional[int] = key(
        None, "Epochs between checkpoints. Default: 100 for regression, 5 for classification.", ge=1)
    max_to_keep: int = key(3, "Checkpoints kept, beside the best by validation log-likelihood.", ge=1)
    max_skipped_steps: int = key(10, "Steps in a row that are not finite, and so left out, after which a run stops.",
                                 ge=1)

    # Posterior.
    kl: float = key(1.0, "Weight of the KL term, lambda; below 1 is a colder posterior.", gt=0)
    kl_warmup: typing.Optional[int] = key(
        None, "Epochs over which the weight of the KL term, and the weight noise with it, grow from 0. "
        "Default: 0 for regression, 20 for classification.", ge=0)
    eta: float = key(1.0, "Prior variance of every weight.", gt=0)
    damping: float = key(0.0, "Extrinsic damping gamma_ex: stabilises the step, never part of the posterior.", ge=0)
    true_fisher: bool = key(True, "Curvature from targets sampled from the model; false: from observed targets.")
    scale_init: Literal["damped", "exact"] = key(
        "damped", "R is re-initialised from the eigenvalues of A and S with gamma_in split over them, or as they are.")
    kfac_init_after_basis: bool = key(
        True, "ekfac: when the basis changes, R is set anew from the eigenvalues; false: carried into the new basis.")
    noise_prior_shape: float = key(6.0, "Shape of the Gamma prior over the noise precision.", REGRESSION, gt=0)
    noise_prior_rate: float = key(6.0, "Rate of the Gamma prior over the noise precision (standardised targets).",
                                  REGRESSION, gt=0)
    likelihood: Literal["gaussian", "student_t"] = key(
        "gaussian", "Noise about the network's output: Gaussian, or Student's t, with which rows far off count less.",
        REGRESSION)
    noise_dof: float = key(
        8.0, "Degrees of freedom of likelihood student_t, whose noise precision is that of its scale: the variance is "
        "noise_dof / (noise_dof - 2) times the square of the scale.", REGRESSION, gt=2)
    noise_update: Literal["adam", "conjugate", "leave_one_out", "held_out"] = key(
        "adam", "How the noise precision's posterior is found. adam: by Adam steps; conjugate: in closed form, from "
        "squared errors of the minibatches; leave_one_out: as conjugate in training, in predictions from the errors "
        "that draws without the row's own target make; held_out: from rows that do not train at first.", REGRESSION)
    held_out: float = key(0.1, "Share of the training rows by which noise_update held_out finds the noise level.",
                          REGRESSION, gt=0, le=0.5)
    held_out_epochs: typing.Optional[int] = key(
        None, "Epochs until these rows train, too, and the noise level stays. Default: three fifths of epoch.",
        REGRESSION, ge=1)

    # Step.
    alpha: float = key(1e-2, "Step size of the mean.", REGRESSION, gt=0)
    beta: float = key(1e-3, "1 - decay of the moving averages of A and S (diag: of f).", REGRESSION, gt=0, le=1)
    omega: float = key(1e-2, "1 - decay of the moving average of R.", REGRESSION, gt=0, le=1)
    learning_rate: float = key(
        1e-3, "Regression: Adam step of the noise precision, or 1 - decay of the average of squared errors "
        "(conjugate, leave_one_out). Classification: step of the mean.", gt=0)
    momentum: float = key(0.9, "Regression: decay of the gradient's moving average (bias-corrected). "
                          "Classification: share of the last step that is added to the next.", ge=0, lt=1)
    lr_decay_interval: typing.Optional[int] = key(
        None, "Epochs between decays of alpha, beta and omega. Default: half of epoch.", REGRESSION, ge=1)
    lr_decay_ratio: float = key(0.1, "Factor of each decay.", REGRESSION, gt=0, le=1)

    # When the curvature is refreshed.
    amor_eigen: bool = key(True, "ekfac: refresh A, S and the basis every Teigen steps; false: every step.", REGRESSION)
    Teigen: int = key(5, "Steps between refreshes under amor_eigen.", REGRESSION, ge=1)
    re_init: bool = key(True, "ekfac: also re-initialise R every re_init_iters steps.", REGRESSION)
    re_init_iters: int = key(50, "Steps between re-initialisations of R under re_init.", REGRESSION, ge=1)
    basis_update: Literal["eigh", "orthogonal_iteration"] = key(
        "eigh", "ekfac: a new basis by eigendecomposition, or by one orthogonal iteration from the old one.")
    basis_tolerance: float = key(
        0.0, "ekfac: a basis is kept while its off-diagonal share of A and S, in the Frobenius norm, is below this.",
        ge=0, lt=1)
    curvature_device: Literal["auto", "cpu", "gpu"] = key(
        "auto", "Where inverses and eigenbases are made; auto: where the rest runs.")
    max_factor_dim: int = key(8192, "Largest Kronecker factor that is built for a layer.", ge=1)
    large_layers: Literal["refuse", "diagonal", "point"] = key(
        "refuse", "What a layer with a larger factor gets: an error, a diagonal posterior, or no weight noise.")

    # Which rows train.
    protocol: Literal["published", "standard"] = key(
        "published", "Splits: random 90/10 by seed, or the 20 fixed splits most papers use.", REGRESSION)
    split: typing.Optional[int] = key(
        None, "Which split. Default: the seed; for protocol standard seed - 1 (counted from 0).", ge=0, lt=2**32)
    validation_fraction: float = key(
        0.0, "Share of the training rows set aside for validation metrics.", ge=0, le=0.5)
    validation_fold: int = key(0, "Which part of the training rows is set aside, counted from 0.", ge=0)
    evaluate_on: Literal["test", "validation"] = key(
        "test", "Rows of the final metrics; validation: the test rows are not looked at.")
    runs: int = key(10, "Seeds that regression_baseline.py trains, 1 to runs.", REGRESSION, ge=1)

    # How it runs.
    seed: int = key(1, "Seed of initial weights, weight noise and minibatch order.", ge=0, lt=2**31)
    steps_per_run: int = key(0, "Most steps per session.run; 0: as many as fit. Never changes a result.", ge=0)
    precision: Literal["float32", "float64"] = key("float32", "Floating-point type of the graph.")
    threads: typing.Optional[int] = key(
        None, "Threads per op (LAPACK's decompositions have their own); 0: TensorFlow's choice. Default: 1 for "
        "regression, 0 for classification.", ge=0, le=1024)

    # Classification only.
    data_aug: bool = key(False, "Random crop (pad 4) and flip.", CLASSIFICATION)
    batch_norm: bool = key(False, "Batch normalisation after every hidden layer.", CLASSIFICATION)
    decay_every_itr: int = key(16000, "Steps between decays of learning_rate by 0.1.", CLASSIFICATION, ge=1)
    cov_ema_decay: float = key(0.99, "Decay of the moving averages of A and S.", CLASSIFICATION, ge=0, lt=1)
    scale_ema_decay: float = key(0.99, "Decay of the moving average of R.", CLASSIFICATION, ge=0, lt=1)
    kl_clip: float = key(1e-3, "Largest KL divergence of one preconditioned gradient; shrinks by 0.95 an epoch.",
                         CLASSIFICATION, gt=0)
    clip_warmup: int = key(10000, "Steps over which kl_clip grows from 0; 0: it is whole from the first step.",
                           CLASSIFICATION, ge=0)
    TCov: int = key(10, "Steps between statistics of A and S.", CLASSIFICATION, ge=1)
    TInv: int = key(200, "Steps between inverses (kfac).", CLASSIFICATION, ge=1)
    TEigen: int = key(200, "Steps between eigenbases (ekfac).", CLASSIFICATION, ge=1)
    TScale: int = key(10, "Steps between statistics of R.", CLASSIFICATION, ge=1)

    @pydantic.model_validator(mode="after")
    def _keys_fit_together(self):
        wrong = sorted(name for name in self.model_fields_set if key_mode(name) not in (None, self.mode))
        for name, value in self:
            if isinstance(value, float) and (0 < abs(value) < TINIEST or abs(value) > LARGEST):
                raise ValueError(f"{name}: {value:g} is beyond what the graph can count with: take a value between "
                                 f"{TINIEST:g} and {LARGEST:g}")
        if wrong and "mode" not in self.model_fields_set:
            raise ValueError(f"{', '.join(wrong)}: for mode {key_mode(wrong[0])} only, and mode is not set (default "
                             f'{self.mode}): add "mode": "{key_mode(wrong[0])}"')
        if wrong:
            raise ValueError(f"{', '.join(wrong)} belong{'s' if len(wrong) == 1 else ''} to mode {key_mode(wrong[0])}, "
                             f"this config's mode is {self.mode}: remove {'it' if len(wrong) == 1 else 'them'}")
        if (self.model_name == "ffn") != (self.hidden is not None):
            raise ValueError("hidden goes with model_name ffn and only with it, e.g. "
                             '"model_name": "ffn", "hidden": [50, 50]')
        if self.noise_update in ("conjugate", "leave_one_out") and self.learning_rate > 1:
            raise ValueError(f"learning_rate {self.learning_rate:g}: with noise_update {self.noise_update} it is a "
                             "share, at most 1")
        if self.evaluate_on == "validation" and self.validation_fraction == 0:
            raise ValueError("evaluate_on validation needs validation rows: set validation_fraction, e.g. to 0.1")
        return self

    @classmethod
    def from_file(cls, path, overrides=()):
        """Reads JSON from `path`, then applies `KEY=VALUE` strings. UserError says what is wrong."""
        return cls.from_dict({**read_settings(path), **dict(_parse_override(text) for text in overrides)}, str(path))

    @classmethod
    def from_dict(cls, values, source="config"):
        """Checks a dict of settings. UserError names each bad key and what would be right."""
        try:
            return cls(**values)
        except pydantic.ValidationError as error:
            raise UserError(f"{source}: " + "; ".join(_explain(item) for item in error.errors())) from None

    def sets(self, name):
        """Whether the key has another value than its default."""
        return getattr(self, name) != type(self).model_fields[name].default

    @property
    def name(self):
        """Name of the run's folder."""
        return self.exp_name or f"{self.optimizer}_{self.dataset}"

    @property
    def warmup_epochs(self):
        """Epochs until the KL term has its full weight."""
        return self.kl_warmup if self.kl_warmup is not None else {REGRESSION: 0, CLASSIFICATION: 20}[self.mode]

    @property
    def evaluate_every(self):
        """Epochs between evaluations."""
        return self.epoch_rate or {REGRESSION: 10, CLASSIFICATION: 1}[self.mode]

    @property
    def save_every(self):
        """Epochs between checkpoints."""
        return self.save_interval or {REGRESSION: 100, CLASSIFICATION: 5}[self.mode]

    @property
    def decay_interval(self):
        """Epochs between decays of the step sizes."""
        return self.lr_decay_interval or (self.epoch + 1) // 2

    @property
    def likelihood_name(self):
        """Of the mode's likelihood."""
        return {REGRESSION: self.likelihood, CLASSIFICATION: "categorical"}[self.mode]

    @property
    def dof(self):
        """Degrees of freedom of a regression's noise; infinite: it is Gaussian."""
        return self.noise_dof if self.likelihood == "student_t" else math.inf

    @property
    def holds_out(self):
        """Whether rows are held out to find the noise level."""
        return self.mode == REGRESSION and self.noise_update == "held_out"

    @property
    def epochs_held_out(self):
        """Epochs in which rows are held out to find the noise level."""
        return self.held_out_epochs or max(1, 3 * self.epoch // 5)

    @property
    def n_threads(self):
        """Threads per op, 0 for TensorFlow's choice."""
        return self.threads if self.threads is not None else {REGRESSION: 1, CLASSIFICATION: 0}[self.mode]


def key_mode(name):
    """The one mode that a config key belongs to, or None."""
    return Config.model_fields[name].json_schema_extra["mode"]


def _parse_override(text):
    """'KEY=VALUE' -> (key, value): VALUE is JSON unless the key holds text."""
    name, equals, value = text.partition("=")
    if not equals:
        raise UserError(f"--set takes KEY=VALUE, got {text!r}")
    field = Config.model_fields.get(name)
    if field is not None and field.annotation in (str, typing.Optional[str]):
        return name, value
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _explain(item):
    """One pydantic error as a short sentence."""
    name = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        return f"unknown key {name!r}{did_you_mean(name, Config.model_fields)} (--help-config lists all)"
    if item["type"] == "missing":
        return f"key {name!r} is missing: {Config.model_fields[name].description}"
    if item["type"] == "value_error":
        return item["msg"].split("Value error, ", 1)[-1]
    message = item["msg"][0].lower() + item["msg"][1:]
    if item["type"] == "string_pattern_mismatch":
        message = PATTERNS[item["ctx"]["pattern"]]
    hint = " (VALUE is read as JSON: true, 0.1, [20, 20], null)" if item["type"] in ("bool_type", "list_type") else ""
    return f"{name}: {message}, got {json.dumps(item['input'], default=repr)}{hint}"
