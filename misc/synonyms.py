"""What other libraries call our configuration keys, for hints about unknown ones."""
import typing

from misc.lookup import did_you_mean

_STEP_SIZE = "alpha is the step size in mode regression, learning_rate in mode classification"
_DECAY = "there is no such key: the prior of variance eta, weighted by kl, regularises the weights"
_PRIOR = "eta is the prior variance of the weights"

# A key that others use -> the key of ours that means the same.
SYNONYMS: typing.Dict[str, str] = {
    "n_epochs": "epoch", "num_epochs": "epoch", "max_epochs": "epoch", "max_iter": "epoch", "bs": "batch_size",
    "minibatch_size": "batch_size", "mini_batch_size": "batch_size", "data": "dataset", "data_set": "dataset",
    "data_dir": "data_path", "data_root": "data_path", "out_dir": "experiments_path",
    "output_dir": "experiments_path", "log_dir": "experiments_path", "model": "model_name", "network": "model_name",
    "architecture": "model_name", "arch": "model_name", "layers": "hidden", "hidden_layers": "hidden",
    "hidden_sizes": "hidden", "hidden_dims": "hidden", "hidden_layer_sizes": "hidden", "n_hidden": "hidden",
    "units": "hidden", "nonlinearity": "activation", "act": "activation", "bn": "batch_norm",
    "batchnorm": "batch_norm", "augment": "data_aug", "augmentation": "data_aug", "random_state": "seed",
    "random_seed": "seed", "name": "exp_name", "run_name": "exp_name", "method": "optimizer",
    "algorithm": "optimizer", "optim": "optimizer", "task": "mode", "val_split": "validation_fraction",
    "validation_split": "validation_fraction", "val_fraction": "validation_fraction",
    "valid_fraction": "validation_fraction", "fold": "validation_fold", "n_samples": "train_particles",
    "num_samples": "train_particles", "mc_samples": "train_particles", "n_mc": "train_particles",
    "particles": "train_particles", "samples": "train_particles", "kl_weight": "kl", "temperature": "kl", "lam": "kl",
    "lambda": "kl", "prior_var": "eta", "prior_variance": "eta", "loss": "likelihood", "dof": "noise_dof",
    "df": "noise_dof", "dtype": "precision", "n_threads": "threads", "n_jobs": "threads", "n_runs": "runs",
    "n_seeds": "runs", "lr_decay": "lr_decay_ratio", "eval_every": "epoch_rate", "save_every": "save_interval",
    "checkpoint_every": "save_interval", "target_column": "target", "label": "target", "y": "target",
    "test_size": "test_fraction", "n_splits": "folds", "id": "row_id", "id_column": "row_id", "index_col": "row_id",
    "features": "inputs", "columns": "inputs", "categorical": "categories", "categorical_features": "categories",
    "na_values": "missing_marks", "sep": "separator", "delimiter": "separator", "file": "data_file",
    "path": "data_file", "groups": "group", "imputation": "missing", "impute": "missing",
    "img_size": "image_size", "input_size": "image_size", "resize": "image_size",
    "stratify": "stratified", "labels": "labels_file", "labels_csv": "labels_file",
    "early_stopping": "patience", "early_stopping_patience": "patience",
    "n_iter_no_change": "patience", "warm_start": "init_from", "pretrained": "init_from", "load_from": "init_from",
    "init_checkpoint": "init_from",
}

# A key that others use and that has no counterpart here, or more than one -> a sentence.
EXPLANATIONS: typing.Dict[str, str] = {
    "lr": _STEP_SIZE,
    "step_size": _STEP_SIZE,
    "eta0": _STEP_SIZE,
    "learning_rate_init": _STEP_SIZE,
    "dropout": "there is no dropout: the noise of the weights takes its place",
    "weight_decay": _DECAY,
    "l2": _DECAY,
    "regularization": _DECAY,
    "prior_precision": _PRIOR,
    "prior_std": _PRIOR,
    "device": "there is no such key: give --device on the command line",
    "gpu": "there is no such key: give --device on the command line",
    "resume": "there is no such key: give --resume on the command line",
}


def key_hint(key: str, known: typing.Iterable[str]) -> str:
    """Returns what to append to "unknown key": the key that was meant, by its meaning or its spelling."""
    name, known = str(key).lower().replace("-", "_").replace(" ", "_"), list(known)
    if name in EXPLANATIONS:
        return f"; {EXPLANATIONS[name]}"
    meant = SYNONYMS.get(name)
    return f"; did you mean {meant!r}?" if meant in known else did_you_mean(key, known)
