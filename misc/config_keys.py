"""The table of all configuration keys: type, range, default, mode, purpose and meaning of each.

Validation, `--set`, `--help-config` and docs/configuration.md are all made from this table. A key without a default
must be given. `Config` (misc/config.py) adds the checks across keys and the values derived from them.
"""
import typing

import pydantic
from typing_extensions import Literal

from misc.config_types import NAME, PATH, Column, ImageSide, key

REGRESSION, CLASSIFICATION = "regression", "classification"  # modes
TABLE_CLASSIFICATION = "table classification"  # kind of a run of mode classification whose data are a table

# Groups of keys by purpose; docs/configuration.md has one table per group, in the order of the keys below.
EXPERIMENT, DATA, NETWORK, LENGTH = "Experiment", "Data and splits", "Network", "Run length and batches"
POSTERIOR, NOISE, STEP = "Prior and posterior", "Observation noise", "Step sizes and moving averages"
CURVATURE, REFRESH, EXECUTION = "Curvature estimates", "Curvature refresh", "Execution"

SAMPLED, LINEARISED = "sampled", "linearised"  # values of key `predictive`


class Keys(pydantic.BaseModel):
    """Checks the type and the range of every key by itself. Frozen; numbers are JSON numbers of the stated type."""

    model_config = pydantic.ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, protected_namespaces=()
    )

    mode: Literal["regression", "classification"] = key(
        EXPERIMENT, REGRESSION, "Selects the likelihood, the kind of data and the metrics.")
    exp_name: typing.Optional[str] = key(
        EXPERIMENT, None, "Name of the run's folder, experiments_path/DATASET/EXP_NAME. Default: OPTIMIZER_DATASET.",
        pattern=NAME, max_length=200)
    experiments_path: str = key(EXPERIMENT, "experiments", "Folder in which run folders are created.", pattern=PATH)
    optimizer: str = key(EXPERIMENT, ..., "Training method; `train.py --list` shows all.")
    fisher_approx: typing.Optional[Literal["eigen", "kron", "diagonal"]] = key(
        EXPERIMENT, None, "Redundant with optimizer, and accepted for compatibility with published files: it has no "
        "effect, and a contradiction is logged.")

    dataset: str = key(DATA, ..., "Name of a known data set (`train.py --list`), or NAME of a file NAME.data in "
                       "data_path.", pattern=NAME, max_length=200)
    data_path: str = key(DATA, "data", "Folder searched first for data files.", pattern=PATH)
    data_aug: bool = key(DATA, False, "Augments training images by random crops (after padding by 4 pixels) and "
                         "horizontal flips.", CLASSIFICATION)
    data_file: typing.Optional[str] = key(
        DATA, None, "File of the table: text (.csv, .tsv, .data, .txt; also .gz, .bz2, .xz, .zip) or .parquet. "
        "Default: NAME.data in data_path.", pattern=PATH)
    target: typing.Union[Column, typing.List[Column], None] = key(
        DATA, None, "Column of the target: its name, or its number from 1, or a list of several for a regression. "
        "Default: the last one without another role.")
    inputs: typing.Optional[typing.List[Column]] = key(
        DATA, None, "Columns that are inputs. Default: all that have no other role.", min_length=1)
    drop: typing.Optional[typing.List[Column]] = key(DATA, None, "Columns that are not used.")
    row_id: typing.Optional[Column] = key(
        DATA, None, "Column that identifies the rows; it is no input, and predictions are listed under it.")
    categories: typing.Optional[typing.List[Column]] = key(
        DATA, None, "Columns whose values are categories although they could be numbers. Columns of words are "
        "categories anyway. Each category of the training rows becomes an input, 0 or 1.")
    dates: Literal["refuse", "expand"] = key(
        DATA, "refuse", "Columns of dates: an error, or expanded into year, month, day, weekday and time of day.")
    missing: Literal["refuse", "mean", "median", "indicator"] = key(
        DATA, "refuse", "Missing values of inputs: an error, or replaced by the mean or the median of the training "
        "rows; indicator: by the mean, and a further input says where. A missing category is none of the others.")
    missing_marks: typing.Optional[typing.List[str]] = key(
        DATA, None, "Fields that stand for a missing value, besides empty ones, NA, null, ? and the like.")
    separator: typing.Optional[str] = key(
        DATA, None, "What separates the fields: \",\", \";\", \"\\t\", \"|\", or \" \" for white space. Default: found "
        "from the file.", min_length=1, max_length=1)
    decimal: typing.Optional[Literal[".", ","]] = key(DATA, None, "The decimal mark. Default: found from the file.")
    encoding: typing.Optional[str] = key(
        DATA, None, "Encoding of the file, as Python calls it. Default: UTF-8 or UTF-16, or else cp1252.", min_length=1)
    header: typing.Optional[bool] = key(DATA, None, "Whether the first line names the columns. Default: found.")
    cache: bool = key(
        DATA, True, "Keeps the numbers of large text files in experiments_path/.cache: each is parsed once.")
    protocol: Literal["published", "standard", "random", "kfold", "ordered", "group", "column", "file", "all"] = key(
        DATA, "published", "Train-test splits. published: random 90/10 splits by seed; standard: the 20 fixed splits "
        "that most papers use; random: test_fraction of the rows; kfold: folds parts of shuffled rows, of which split "
        "number k tests on part k modulo folds, shuffled anew after each round; ordered: the last test_fraction of the "
        "rows; group: random, with rows of equal `group` on one side; column: as split_column says; file: test_file; "
        "all: no test rows.")
    folds: int = key(DATA, 10, "Number of parts with protocol kfold.", ge=2)
    group: typing.Optional[Column] = key(DATA, None, "Column of the groups with protocol group; it is no input.")
    split_column: typing.Optional[Column] = key(
        DATA, None, "Column that holds train, valid or test, or the number of a fold, with protocol column.")
    test_file: typing.Optional[str] = key(DATA, None, "File of the test rows with protocol file.", pattern=PATH)
    image_size: typing.Optional[typing.List[ImageSide]] = key(
        DATA, None, "[height, width] in pixels of the images of dataset images. Default: they must be of one size.",
        CLASSIFICATION, min_length=2, max_length=2)
    image_fit: Literal["crop", "pad", "stretch"] = key(
        DATA, "crop", "How an image becomes one of image_size: the largest part about its centre that has the aspect "
        "ratio (crop), the whole image with black beside it (pad), or the whole image with another aspect ratio "
        "(stretch).", CLASSIFICATION)
    labels_file: typing.Optional[str] = key(
        DATA, None, "A CSV of file names in data_path and their classes, for dataset images in place of class folders.",
        CLASSIFICATION, pattern=PATH)
    image_cache: typing.Optional[str] = key(
        DATA, None, "Folder from whose files the bytes of dataset images are mapped into memory, for sets that are "
        "larger than it. Default: they are held in memory.", CLASSIFICATION, pattern=PATH)
    split: typing.Optional[int] = key(
        DATA, None, "Index of the split. Default: the seed; with protocol standard, random, kfold, group and column, "
        "seed - 1 (counted from 0).", ge=0, lt=2**32)
    test_fraction: float = key(
        DATA, 0.2, "Fraction of the rows that are test rows: of images without a test set of their own, and of tables "
        "with protocol random, ordered and group.", gt=0, lt=1)
    stratified: bool = key(
        DATA, False, "Gives test and validation rows the same share of each class, to within one row; false: they are "
        "random. For tables with protocol random and kfold; with column and file, for validation rows alone.",
        CLASSIFICATION)
    validation_fraction: float = key(
        DATA, 0.0, "Fraction of the training rows set aside as validation rows.", ge=0, le=0.5)
    validation_fold: int = key(DATA, 0, "Which part of the training rows is set aside, counted from 0.", ge=0)
    evaluate_on: Literal["test", "validation"] = key(
        DATA, "test", "Rows on which the run is evaluated. With validation, the test rows are not used at all.")

    model_name: str = key(NETWORK, ..., "Network; `train.py --list` shows all.")
    hidden: typing.Optional[typing.List[pydantic.PositiveInt]] = key(
        NETWORK, None, "Widths of the hidden layers; required by model_name ffn and allowed with no other network.",
        min_length=1)
    width: float = key(NETWORK, 1.0, "Factor by which all widths of vgg, resnet and lenet are multiplied.",
                       CLASSIFICATION, gt=0)
    activation: Literal["relu", "tanh", "elu"] = key(NETWORK, "relu", "Activation function of the hidden layers.")
    batch_norm: bool = key(NETWORK, False, "Applies batch normalisation after every hidden layer.", CLASSIFICATION)

    auto_schedule: bool = key(
        LENGTH, False, "Chooses epoch, batch_size, train_particles, alpha, beta, omega, lr_decay_interval, Teigen, "
        "re_init_iters, epoch_rate and save_interval by the number of training rows, except for those that the config "
        "gives.", REGRESSION)
    epoch: int = key(LENGTH, 1000, "Passes over the training rows.", ge=1, le=10**6)
    batch_size: int = key(LENGTH, 10, "Training rows per step.", ge=1)
    test_batch_size: int = key(LENGTH, 1000, "Rows per evaluation batch; affects memory, not results.", ge=1)
    train_particles: int = key(LENGTH, 10, "Weight draws per step, each shared by the whole minibatch.", ge=1)
    test_particles: int = key(LENGTH, 100, "Weight draws in evaluation.", ge=1)
    interim_particles: typing.Optional[int] = key(
        LENGTH, None, "Weight draws of evaluations before the last one, at most test_particles. Default: as many as "
        "cost a tenth of the training between two, or a second of a core; with patience, all.", CLASSIFICATION, ge=1)
    epoch_rate: typing.Optional[int] = key(
        LENGTH, None, "Epochs between evaluations. Default: 10 for regression, 1 for classification.", ge=1)
    save_interval: typing.Optional[int] = key(
        LENGTH, None, "Epochs between checkpoints. Default: 100 for regression, 5 for classification.", ge=1)
    patience: typing.Optional[int] = key(
        LENGTH, None, "Ends the training when the validation log-likelihood has not risen for this many evaluations. "
        "The result is that of the best evaluation in any case. Needs validation rows.", ge=1)
    max_to_keep: int = key(
        LENGTH, 3, "Newest checkpoints that are kept, in addition to the one with the best validation log-likelihood.",
        ge=1)
    max_skipped_steps: int = key(
        LENGTH, 10, "Consecutive skipped (non-finite) steps after which a run is aborted.", ge=1)
    runs: int = key(LENGTH, 10, "Number of seeds that regression_baseline.py trains: 1 to runs.", ge=1)

    kl: float = key(POSTERIOR, 1.0, "Weight lambda of the KL term; values below 1 give a colder posterior.", gt=0)
    kl_candidates: typing.Optional[typing.List[pydantic.PositiveFloat]] = key(
        POSTERIOR, None, "Values of kl, of which one is chosen before the training: the best one in fits of half the "
        "length, judged by the log-likelihood of a fifth of the training rows, on which they are not trained; for "
        "classifications of at most 2000 rows, by that of all five fifths in turn. kl has no effect then.",
        min_length=2)
    kl_warmup: typing.Optional[int] = key(
        POSTERIOR, None, "Epochs over which the weight of the KL term, and with it the weight noise, grows from 0 to "
        "its full value. Default: 0 for regression, 20 for classification.", ge=0)
    init_from: typing.Optional[str] = key(
        POSTERIOR, None, "Folder of a run of the same network, whose newest checkpoint is the start: means, curvature "
        "and noise level are those of that run; of a run by another kind of optimizer, weights and noise level alone. "
        "Steps and epochs count from 0.", pattern=PATH)
    posterior_layers: typing.Union[str, typing.List[str]] = key(
        POSTERIOR, "all", "Layers whose weights have a posterior: all, last, or a list of names (`--explain` shows "
        "them). The weights of the others are point estimates, without noise, trained by the same steps.")
    predictive: Literal["sampled", "linearised"] = key(
        POSTERIOR, "sampled", "How predictions treat the uncertainty of the weights. sampled: by weight draws. "
        "linearised: the network is linear in the weights about their mean, so that outputs are Gaussian; classes by "
        "the probit approximation. It does not touch the training.")
    eta: float = key(POSTERIOR, 1.0, "Prior variance of every weight.", gt=0)

    noise_prior_shape: float = key(NOISE, 6.0, "Shape of the Gamma prior over the noise precision.", REGRESSION, gt=0)
    noise_prior_rate: float = key(
        NOISE, 6.0, "Rate of the Gamma prior over the noise precision, for standardised targets.", REGRESSION, gt=0)
    likelihood: Literal["gaussian", "student_t", "heteroscedastic"] = key(
        NOISE, "gaussian", "Distribution of the noise. gaussian. student_t: gives outliers less weight. "
        "heteroscedastic: Gaussian with a variance that differs between the rows; its logarithm is a second output of "
        "the network.", REGRESSION)
    noise_dof: float = key(
        NOISE, 8.0, "Degrees of freedom of likelihood student_t. The noise precision is that of its scale, so the "
        "noise variance is noise_dof / (noise_dof - 2) times the squared scale.", REGRESSION, gt=2)
    noise_covariance: Literal["diagonal", "full"] = key(
        NOISE, "diagonal", "Noise of several targets. diagonal: independent. full: correlated, with a Wishart "
        "posterior of its precision matrix; for likelihood gaussian, noise_update conjugate or held_out, and "
        "predictive_noise trained. With a single target there is no difference.", REGRESSION)
    noise_update: Literal["adam", "conjugate", "leave_one_out", "held_out"] = key(
        NOISE, "adam", "How the posterior of the noise precision is fitted. adam: by Adam on the bound. conjugate: in "
        "closed form, from squared errors on the minibatches. leave_one_out: as conjugate in training; predictions "
        "use errors that approximate those of leave-one-out predictions. held_out: from training rows that are held "
        "out at first.", REGRESSION)
    predictive_noise: Literal["trained", "leave_one_out"] = key(
        NOISE, "trained", "Noise of predictions. trained: the posterior of the noise precision, with noise_dof. "
        "leave_one_out: its scale (likelihood heteroscedastic: a common factor of the variances) and its degrees of "
        "freedom (infinitely many: Gaussian) are fitted, at every evaluation, to approximate leave-one-out predictions "
        "of the training rows.", REGRESSION)
    held_out: float = key(NOISE, 0.1, "Fraction of the training rows from which noise_update held_out estimates the "
                          "noise precision.", REGRESSION, gt=0, le=0.5)
    held_out_epochs: typing.Optional[int] = key(
        NOISE, None, "Epochs after which the held-out rows are trained on, too, and the noise precision is fixed. "
        "Default: three fifths of epoch.", REGRESSION, ge=1)

    alpha: float = key(STEP, 1e-2, "Step size of the mean.", REGRESSION, gt=0)
    beta: float = key(STEP, 1e-3, "1 - decay of the moving averages of A and S (diag: of f).", REGRESSION, gt=0, le=1)
    omega: float = key(STEP, 1e-2, "1 - decay of the moving average of R.", REGRESSION, gt=0, le=1)
    learning_rate: float = key(
        STEP, 1e-3, "Regression: step size of Adam for the noise precision; with noise_update conjugate or "
        "leave_one_out, 1 - decay of the moving average of squared errors. Classification: step size of the mean.",
        gt=0)
    momentum: float = key(
        STEP, 0.9, "Regression: decay of the moving average of the gradient (bias-corrected). Classification: "
        "fraction of the previous step that is added to the next one.", ge=0, lt=1)
    lr_decay_interval: typing.Optional[int] = key(
        STEP, None, "Epochs between decays of alpha, beta and omega. Default: half of epoch.", REGRESSION, ge=1)
    lr_decay_ratio: float = key(STEP, 0.1, "Factor of each of these decays.", REGRESSION, gt=0, le=1)
    decay_every_itr: int = key(STEP, 16000, "Steps between decays of learning_rate by a factor of 0.1.",
                               CLASSIFICATION, ge=1)
    cov_ema_decay: float = key(STEP, 0.99, "Decay of the moving averages of A and S (diag: of f).", CLASSIFICATION,
                               ge=0, lt=1)
    scale_ema_decay: float = key(STEP, 0.99, "Decay of the moving average of R.", CLASSIFICATION, ge=0, lt=1)
    kl_clip: float = key(
        STEP, 1e-3, "Bound on the KL divergence between the predictive distributions before and after the "
        "preconditioned gradient step, before momentum; multiplied by clip_decay after every epoch.", CLASSIFICATION,
        gt=0)
    clip_decay: float = key(
        STEP, 0.95, "Factor on kl_clip after every epoch; 1: it does not shrink.", CLASSIFICATION, gt=0, le=1)
    clip_warmup: int = key(
        STEP, 10000, "Steps over which a factor of kl_clip grows from 0 to 1, beside the decay by clip_decay; 0: "
        "no warm-up.", CLASSIFICATION, ge=0)

    damping: float = key(
        CURVATURE, 0.0, "Extrinsic damping gamma_ex: stabilises the step. It is not part of the posterior, except that "
        "ekfac with scale_init damped initialises R with it.", ge=0)
    true_fisher: bool = key(
        CURVATURE, True, "Estimates the curvature with targets sampled from the model; false: with the observed "
        "targets (empirical Fisher).")
    curvature_rows: float = key(
        CURVATURE, 1.0, "Share of a minibatch's rows from which A, S and R (diag: f) are estimated, rounded up.", gt=0,
        le=1)
    scale_init: Literal["damped", "exact"] = key(
        CURVATURE, "damped", "ekfac: R is initialised from the eigenvalues of A and S, with the intrinsic and the "
        "extrinsic damping split between the two factors (damped) or without it (exact).")
    kfac_init_after_basis: bool = key(
        CURVATURE, True, "ekfac: after a change of basis, R is re-initialised from the eigenvalues; false: R is "
        "transformed to the new basis.")
    basis_update: Literal["eigh", "orthogonal_iteration"] = key(
        CURVATURE, "eigh", "ekfac: how a new basis is computed: by an eigendecomposition, or by one orthogonal "
        "iteration that starts from the old basis.")
    basis_tolerance: float = key(
        CURVATURE, 0.0, "ekfac: keeps the basis while the off-diagonal parts of A and S in it, in the Frobenius norm "
        "and relative to the whole, are below this value; 0: every refresh computes a new basis.", ge=0, lt=1)
    curvature_device: Literal["auto", "cpu", "gpu"] = key(
        CURVATURE, "auto", "Device that computes inverses and eigenbases; auto: the device of all other operations.")
    max_factor_dim: int = key(CURVATURE, 8192, "Largest Kronecker factor that is built for a layer.", ge=1)
    large_layers: Literal["refuse", "diagonal", "point"] = key(
        CURVATURE, "refuse", "Treatment of a layer whose factors would be larger than max_factor_dim: an error, a "
        "diagonal posterior, or a point estimate without weight noise.")

    amor_eigen: bool = key(
        REFRESH, True, "ekfac: refreshes A, S and the basis every Teigen steps; false: every step.", REGRESSION)
    Teigen: int = key(REFRESH, 5, "Steps between these refreshes under amor_eigen.", REGRESSION, ge=1)
    re_init: bool = key(REFRESH, True, "ekfac: also re-initialises R every re_init_iters steps.", REGRESSION)
    re_init_iters: int = key(REFRESH, 50, "Steps between re-initialisations of R under re_init.", REGRESSION, ge=1)
    TCov: typing.Optional[int] = key(
        REFRESH, None, "Steps between updates of A and S (diag: of f). Default: 10 for classification; 1 for "
        "regression, with ekfac Teigen.", ge=1)
    TInv: typing.Optional[int] = key(
        REFRESH, None, "kfac: steps between inversions. Default: 1 for regression, 200 for classification.", ge=1)
    TEigen: typing.Optional[int] = key(
        REFRESH, None, "ekfac: steps between eigenbases. Default: Teigen, 200 for classification.", ge=1)
    TScale: typing.Optional[int] = key(
        REFRESH, None, "ekfac: steps between updates of R. Default: 1 for regression, 10 for classification.", ge=1)
    auto_refresh: bool = key(
        REFRESH, False, "Networks with a layer of 200 or more inputs or units: multiplies these periods, and "
        "re_init_iters, by the least number with which statistics and refreshes take a quarter of a step's estimated "
        "time at most. Moving averages cover as many steps as before.")
    early_refresh: bool = key(
        REFRESH, True, "Also refreshes statistics, inverses, bases and R at step 1 and at steps TCov, 2 TCov, 4 TCov "
        "and so on, until the first regular refresh.", CLASSIFICATION)

    seed: int = key(EXECUTION, 1, "Seed of initial weights, weight noise and the order of minibatches.", ge=0, lt=2**31)
    steps_per_run: int = key(
        EXECUTION, 0, "Maximal number of steps per session.run; 0: as many as fit. It never changes a result.", ge=0)
    precision: Literal["float32", "float64"] = key(EXECUTION, "float32", "Floating-point type of the graph.")
    threads: typing.Optional[int] = key(
        EXECUTION, None, "Threads per TensorFlow operation (LAPACK has its own); 0: TensorFlow's choice. Default: 0 if "
        "a step is estimated to gain by two cores, which follows from the sizes alone, else 1.", ge=0, le=1024)
    num_workers: int = key(EXECUTION, 2, "Has no effect; accepted for compatibility with published files.", ge=0)


def key_mode(name: str) -> typing.Optional[str]:
    """Returns the only mode that accepts a key, or None if both do."""
    return Keys.model_fields[name].json_schema_extra["mode"]


def key_group(name: str) -> str:
    """Returns the purpose of a key, which is the heading of its table in the documentation."""
    return Keys.model_fields[name].json_schema_extra["group"]
