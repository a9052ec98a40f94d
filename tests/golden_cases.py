"""The runs that golden_runs.py records: their settings, and how closely another machine comes to them."""
import typing

ROUNDING = 1e-4
"""Relative tolerance where results differ by rounding alone. (Between TensorFlow 1.15 and 2.21: by up to 3e-5.)"""

CHANCE = 0.2
"""The same where rounding decides on what is drawn: noisy EK-FAC draws weight noise along eigenvectors, whose signs are
a matter of rounding, and so may be a sampled label. Only metrics and the size of the mean weights are compared."""


class Case(typing.NamedTuple):
    """One recorded run."""

    group: str  # the cases of a group run in one process
    settings: dict  # settings of its config file
    tolerance: float = ROUNDING  # relative, where the machine does not round as the recording one did
    stop_after: int = 0  # interrupted after this many checks for a signal, then resumed; 0: not interrupted
    same_as: str = ""  # the case whose results this one must have
    bits: bool = True  # whether the same machine gives the same bits; LAPACK's depend on where its memory lies
    folder: str = ""  # continues the run in tests/golden/runs/FOLDER


REGRESSION = dict(
    mode="regression", dataset="blend", model_name="ffn", hidden=[10], epoch=6, batch_size=10, train_particles=3,
    test_particles=10, epoch_rate=3, save_interval=6, alpha=0.02, beta=0.1, omega=0.1, learning_rate=0.05, Teigen=3,
    re_init_iters=9, threads=1)

DIGITS = dict(
    mode="classification", dataset="digits", model_name="ffn", hidden=[8], epoch=4, batch_size=240, epoch_rate=2,
    save_interval=4, train_particles=2, test_particles=4, learning_rate=0.02, decay_every_itr=7, kl=0.5, kl_warmup=2,
    kl_clip=0.05, clip_warmup=9, damping=0.001, TCov=3, TInv=3, TEigen=3, TScale=3, threads=1)

EVERY_STEP = dict(TCov=1, TInv=1, TEigen=1, TScale=1)

IMAGES = dict(DIGITS, dataset="images", model_name="resnet20", hidden=None, width=0.12, epoch=2, batch_size=12,
              epoch_rate=2, test_particles=2)

LENET = dict(DIGITS, model_name="lenet", hidden=None, width=0.3)

LEAVE_ONE_OUT, HELD_OUT = "leave_one_out", "held_out"

# Every method with every noise_update; the other keys alternate between the cases.
_EKFAC = {
    "adam": dict(),
    "conjugate": dict(noise_update="conjugate", likelihood="student_t", kl_warmup=3, scale_init="exact"),
    "leave_one_out": dict(noise_update=LEAVE_ONE_OUT, damping=0.1, kfac_init_after_basis=False, lr_decay_interval=2),
    "held_out": dict(noise_update=HELD_OUT, validation_fraction=0.2, basis_update="orthogonal_iteration",
                     basis_tolerance=0.3),
    "every_step": dict(amor_eigen=False, re_init=False, protocol="standard", true_fisher=False, precision="float64"),
    "point": dict(optimizer="ekfac_point", noise_update="conjugate", activation="tanh", damping=0.05),
}
_KFAC = {
    "adam": dict(),
    "conjugate": dict(noise_update="conjugate", damping=0.1, true_fisher=False),
    "leave_one_out": dict(noise_update=LEAVE_ONE_OUT, likelihood="student_t", large_layers="diagonal",
                          max_factor_dim=10),
    "held_out": dict(noise_update=HELD_OUT, large_layers="point", max_factor_dim=10, kl_warmup=3),
    "point": dict(optimizer="kfac_point", protocol="standard", seed=3),
}
_DIAG = {
    "adam": dict(),
    "conjugate": dict(noise_update="conjugate", kl_warmup=2, lr_decay_interval=2, lr_decay_ratio=0.5),
    "leave_one_out": dict(noise_update=LEAVE_ONE_OUT, precision="float64", damping=0.1),
    "held_out": dict(noise_update=HELD_OUT, likelihood="student_t", held_out_epochs=2),
}
_BBB = {
    "adam": dict(),
    "conjugate": dict(noise_update="conjugate", kl_warmup=3),
    "leave_one_out": dict(noise_update=LEAVE_ONE_OUT, evaluate_on="validation", validation_fraction=0.1,
                          validation_fold=2),
    "held_out": dict(noise_update=HELD_OUT, activation="elu"),
}
_ADAM = {
    "adam": dict(),
    "conjugate": dict(noise_update="conjugate", split=4),
    "leave_one_out": dict(noise_update=LEAVE_ONE_OUT, likelihood="student_t"),
    "held_out": dict(noise_update=HELD_OUT, model_name="linear", hidden=None),
    "sgd": dict(optimizer="sgd", alpha=0.001, eta=2.0),
}
_BN, _AUGMENTED = dict(batch_norm=True), dict(batch_norm=True, data_aug=True)
_DIGITS = {
    "ekfac": dict(DIGITS, optimizer="ekfac"),
    "ekfac_bn_aug": dict(LENET, optimizer="ekfac", **_AUGMENTED, **EVERY_STEP),
    "ekfac_point": dict(DIGITS, optimizer="ekfac_point", kfac_init_after_basis=False, clip_warmup=0, TCov=2,
                        TEigen=4, TScale=2),
    "kfac": dict(LENET, optimizer="kfac", **EVERY_STEP),
    "kfac_bn_aug": dict(DIGITS, optimizer="kfac", damping=0.0, **_AUGMENTED),
    "diag_aug": dict(DIGITS, optimizer="diag", data_aug=True),
    "diag_bn": dict(DIGITS, optimizer="diag", **_BN),
    "sgd": dict(LENET, optimizer="sgd"),
    "sgd_bn_aug": dict(DIGITS, optimizer="sgd", clip_warmup=0, **_AUGMENTED),
    "bbb_bn": dict(DIGITS, optimizer="bbb", learning_rate=0.01, **_BN),
    "adam": dict(DIGITS, optimizer="adam", learning_rate=0.01, validation_fraction=0.1, evaluate_on="validation"),
}
_IMAGES = {  # a deep network, and factors that are large enough for LAPACK
    "resnet20_aug": dict(IMAGES, optimizer="kfac", data_aug=True, large_layers="diagonal", max_factor_dim=30,
                         **EVERY_STEP),
    "ekfac_point_large": dict(IMAGES, optimizer="ekfac_point", model_name="ffn", hidden=[6], width=1.0),
}

_METHODS = {"ekfac": _EKFAC, "kfac": _KFAC, "diag": _DIAG, "bbb": _BBB, "adam": _ADAM}


def case(group, name, settings):
    """A Case with the tolerance that its method allows: the labels that a Fisher is sampled with depend on rounding."""
    samples_labels = settings["mode"] == "classification" and settings["optimizer"] not in ("sgd", "adam", "bbb")
    return Case(group, settings, CHANCE if samples_labels or settings["optimizer"] == "ekfac" else ROUNDING)


CASES = {f"{method}/{name}": case(method, name, {**REGRESSION, "optimizer": method, **more})
         for method, cases in _METHODS.items() for name, more in cases.items()}
CASES.update({f"{group}/{name}": case(group, name, settings)
              for group, cases in (("digits", _DIGITS), ("images", _IMAGES)) for name, settings in cases.items()})


def again(base, stop_after=0, **more):
    """The case `base` run in another way that must give the same: with other steps_per_run, or in two parts."""
    return CASES[base]._replace(group="again", settings=dict(CASES[base].settings, **more), stop_after=stop_after,
                                same_as=base)


CASES.update({
    "again/ekfac_resumed": again("ekfac/adam", stop_after=32, steps_per_run=1),
    "again/ekfac_steps_7": again("ekfac/adam", steps_per_run=7),
    "again/kfac_resumed": again("kfac/leave_one_out", stop_after=24, steps_per_run=1),
    "again/digits_resumed": again("digits/kfac_bn_aug", stop_after=9, steps_per_run=1),
    "again/digits_steps_7": again("digits/kfac_bn_aug", steps_per_run=7),
})

RUNS = {
    "regression_ekfac": (dict(CASES["ekfac/leave_one_out"].settings, validation_fraction=0.1, steps_per_run=1), 32),
    "digits_kfac_bn": (dict(CASES["digits/kfac_bn_aug"].settings, steps_per_run=1), 15),
}
"""{folder in tests/golden/runs: (settings of the run, looks for a signal until it was interrupted)}."""

CASES["images/ekfac_point_large"] = CASES["images/ekfac_point_large"]._replace(bits=False)
CASES.update({f"runs/{name}": case("runs", name, settings)._replace(folder=name)
              for name, (settings, _) in RUNS.items()})

SLOW = ("ekfac/point", "digits/ekfac_bn_aug", "digits/kfac_bn_aug", "digits/diag_aug", "digits/sgd_bn_aug",
        "images/resnet20_aug", "again/ekfac_steps_7", "again/kfac_resumed", "again/digits_steps_7")
"""Cases that run with the slow tests, because others come close to them: the graphs of most take longest to build."""

CASES.update({name: CASES[name]._replace(group="slow") for name in SLOW})

GROUPS = {"ekfac": ("ekfac", "again"), "others": ("kfac", "diag", "bbb", "adam"), "digits": ("digits",),
          "images": ("images", "runs"), "slow": ("slow",)}
"""Cases that run in one process: its name -> their groups."""
