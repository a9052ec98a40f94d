"""The configuration of one run: read from JSON files and checked before anything is built.

The keys themselves stand in misc/config_keys.py.
"""
import json
import math
import typing

import pydantic

from misc.config_file import PathLike, parse_override, read_settings
from misc.config_keys import CLASSIFICATION, REGRESSION, TABLE_CLASSIFICATION, Keys, key_mode
from misc.config_overlays import OVERLAY_KEYS, read_overlay
from misc.config_types import PATTERNS
from misc.errors import UserError
from misc.synonyms import key_hint

TABLE_KEYS = ("data_file", "target", "inputs", "drop", "row_id", "categories", "dates", "missing", "missing_marks",
              "separator", "decimal", "encoding", "header", "protocol", "folds", "group", "split_column", "test_file",
              "kl_candidates")  # that runs on images do not have
STRATIFIED_PROTOCOLS = ("random", "kfold")  # of tables: stratified gives test rows the same share of each class
GIVEN_TEST_ROWS = ("column", "file")  # others that a table can have with stratified, for validation rows alone
FIXED_TEST_FRACTION = ("published", "standard")  # values of protocol with which test_fraction has no effect
SMALLEST, LARGEST = 1e-30, 1e30  # of float keys, so that squares and quotients still fit into a float32
OUTPUT_NOISE = ("heteroscedastic",)  # likelihoods whose noise is an output of the network: noise_update has no effect
FULL_COVARIANCE_NEEDS = {"likelihood": ("gaussian",), "noise_update": ("conjugate", "held_out"),
                         "predictive_noise": ("trained",)}


class ModeDefaults(typing.NamedTuple):
    """Defaults of keys that depend on the mode."""

    kl_warmup: int      # epochs
    epoch_rate: int     # epochs
    save_interval: int  # epochs


MODE_DEFAULTS = {
    REGRESSION: ModeDefaults(kl_warmup=0, epoch_rate=10, save_interval=100),
    CLASSIFICATION: ModeDefaults(kl_warmup=20, epoch_rate=1, save_interval=5),
}


PERIODS = {"TCov": 10, "TInv": 200, "TEigen": 200, "TScale": 10}
"""Keys of the refresh periods, and what null stands for in a classification."""


class Config(Keys):
    """Settings of one run: the keys of misc/config_keys.py, checked together, and what follows from them."""

    @pydantic.model_validator(mode="after")
    def _check_keys_together(self):
        for check in (self._check_floats, self._check_modes, self._check_combinations):
            check()
        return self

    def _check_floats(self):
        for name, value in self:
            if isinstance(value, float) and (0 < abs(value) < SMALLEST or abs(value) > LARGEST):
                raise ValueError(f"{name}: {value:g} is out of range: give a value between {SMALLEST:g} and "
                                 f"{LARGEST:g}")

    def _check_modes(self):
        wrong = sorted(name for name in self.model_fields_set if key_mode(name) not in (None, self.mode))
        if wrong and "mode" not in self.model_fields_set:
            raise ValueError(f"{', '.join(wrong)}: for mode {key_mode(wrong[0])} only, and mode is not set (default "
                             f'{self.mode}): add "mode": "{key_mode(wrong[0])}"')
        if wrong:
            raise ValueError(f"{', '.join(wrong)} belong{'s' if len(wrong) == 1 else ''} to mode {key_mode(wrong[0])}, "
                             f"but this config has mode {self.mode}: remove {'it' if len(wrong) == 1 else 'them'}")

        tabular = sorted(name for name in TABLE_KEYS if self.sets(name))
        if tabular and not self.is_table:
            raise ValueError(f"{', '.join(tabular)}: for tables only: with mode classification, data_file names the "
                             "table")

    def _check_combinations(self):
        if (self.model_name == "ffn") != (self.hidden is not None):
            raise ValueError("hidden is required by model_name ffn and allowed with no other network, e.g. "
                             '"model_name": "ffn", "hidden": [50, 50]')
        if self.noise_update in ("conjugate", "leave_one_out") and self.learning_rate > 1:
            raise ValueError(f"learning_rate {self.learning_rate:g}: with noise_update {self.noise_update} it is the "
                             "weight of a new value in a moving average, at most 1")
        if self.sets("image_fit") and self.image_size is None:
            raise ValueError(f"image_fit {self.image_fit} has no effect without image_size: set image_size, e.g. to "
                             "[32, 32], or remove image_fit")
        if self.is_table and self.sets("test_fraction") and self.protocol in FIXED_TEST_FRACTION:
            raise ValueError(f"test_fraction {self.test_fraction:g}: protocol {self.protocol} fixes the test "
                             "rows, a tenth of all: remove test_fraction")
        for name, allowed in FULL_COVARIANCE_NEEDS.items():
            if self.noise_covariance == "full" and getattr(self, name) not in allowed:
                raise ValueError(f"noise_covariance full is for {name} {' or '.join(allowed)}, not "
                                 f"{getattr(self, name)}: set {name}, or noise_covariance to diagonal")
        if self.interim_particles is not None and self.patience is not None:
            raise ValueError(f"interim_particles {self.interim_particles}: with patience, any evaluation may be the "
                             "result, and all take test_particles draws: remove interim_particles")
        if self.kl_candidates and len(set(self.kl_candidates)) < len(self.kl_candidates):
            raise ValueError("kl_candidates has a value twice")
        self._check_splits()
        if self.kl_candidates and self.init_from is not None:
            raise ValueError("kl_candidates cannot be used with init_from, whose weights may have been trained on the "
                             "rows that judge the candidates: set kl")
        # `images` and a split column may have validation rows of their own, which only the loader knows
        own_rows = self.dataset == "images" or self.protocol == "column"
        asked = [words for words, asks in (("evaluate_on validation", self.evaluate_on == "validation"),
                                           (f"patience {self.patience}", self.patience is not None)) if asks]
        if asked and self.validation_fraction == 0 and not own_rows:
            raise ValueError(f"{asked[0]} needs validation rows: set validation_fraction, e.g. to 0.1")

    def _check_splits(self):
        if self.target == [] or len(set(self.targets)) < len(self.targets):
            raise ValueError("target is a list without columns, or with one twice")
        if self.mode == CLASSIFICATION and len(self.targets) > 1:
            raise ValueError("target: a classification has one target")
        for protocol, name in (("group", "group"), ("column", "split_column"), ("file", "test_file")):
            if (self.protocol == protocol) != (getattr(self, name) is not None):
                raise ValueError(f"protocol {protocol} and the key {name} need each other")
        if self.protocol == "all" and self.validation_fraction and self.evaluate_on == "test":
            raise ValueError("protocol all has no test rows: with validation_fraction, set evaluate_on to validation")
        if self.stratified and self.is_table and self.protocol not in STRATIFIED_PROTOCOLS:
            if self.protocol not in GIVEN_TEST_ROWS:
                raise ValueError(f"stratified: protocol {self.protocol} chooses rows without regard to their classes: "
                                 f"set protocol to {' or '.join(STRATIFIED_PROTOCOLS)}, or remove stratified")
            if not self.validation_fraction:
                raise ValueError(f"stratified: protocol {self.protocol} has test rows of its own and no validation "
                                 "rows are chosen: set validation_fraction, or remove stratified")

    @classmethod
    def from_file(cls, path: PathLike, overrides: typing.Sequence[str] = (),
                  overlays: typing.Sequence[PathLike] = ()) -> "Config":
        """Reads a JSON file, lays overlays over it in the given order, then applies `KEY=VALUE` strings.

        The suffixes of the overlays are appended to the experiment's name, unless an override sets exp_name.
        Raises UserError, which names the file and what is wrong in it, or the overlay that is for another mode.
        """
        layers = [read_overlay(overlay) for overlay in overlays]
        values, changes = read_settings(path), dict(parse_override(text) for text in overrides)
        mode = changes.get("mode", values.get("mode", REGRESSION))
        for overlay, layer in zip(overlays, layers):
            if layer.values.get("mode", mode) != mode:
                raise UserError(f"{overlay} is for mode {layer.values['mode']}, but {path} has mode {mode}")
            values = layer.laid_over(values)
        values.update(changes)
        source = str(path) + (f" with {', '.join(map(str, overlays))}" if overlays else "")
        config, suffix = cls.from_dict(values, source), "".join(layer.suffix for layer in layers)
        if suffix and "exp_name" not in changes:
            config = cls.from_dict(dict(values, exp_name=config.name + suffix), source)
        return config

    @classmethod
    def from_dict(cls, values: typing.Dict[str, typing.Any], source: str = "config") -> "Config":
        """Checks a dict of settings. Raises UserError, which names each bad key and what would be right."""
        try:
            return cls(**values)
        except pydantic.ValidationError as error:
            raise UserError(f"{source}: " + "; ".join(_explain(item) for item in error.errors())) from None

    def sets(self, name: str) -> bool:
        """Returns whether a key differs from its default."""
        defaults = [type(self).model_fields[name].default]
        if self.mode == CLASSIFICATION:
            defaults.append(PERIODS.get(name))
        return getattr(self, name) not in defaults

    @property
    def name(self) -> str:
        """Name of the experiment, and of its folder."""
        return self.exp_name or f"{self.optimizer}_{self.dataset}"

    @property
    def targets(self) -> typing.List[typing.Union[int, str]]:
        """The columns that `target` names; empty if the last one is meant."""
        if self.target is None:
            return []
        return self.target if isinstance(self.target, list) else [self.target]

    @property
    def kind(self) -> str:
        """What depends on likelihood and data at once: the mode, or TABLE_CLASSIFICATION."""
        return TABLE_CLASSIFICATION if self.mode == CLASSIFICATION and self.is_table else self.mode

    @property
    def is_table(self) -> bool:
        """Whether the data are a table, and not images."""
        return self.mode == REGRESSION or self.data_file is not None

    @property
    def table_format(self) -> typing.Dict[str, typing.Any]:
        """How the file of the table is written, for data_loader.table_text.TableFormat."""
        return dict(separator=self.separator, decimal=self.decimal, encoding=self.encoding, header=self.header,
                    missing_marks=tuple(self.missing_marks or ()))

    @property
    def warmup_epochs(self) -> int:
        """Epochs until the KL term has its full weight."""
        return self._or_default("kl_warmup")

    @property
    def evaluate_every(self) -> int:
        """Epochs between evaluations."""
        return self._or_default("epoch_rate")

    @property
    def save_every(self) -> int:
        """Epochs between checkpoints."""
        return self._or_default("save_interval")

    @property
    def decay_interval(self) -> int:
        """Epochs between decays of alpha, beta and omega."""
        return self.lr_decay_interval or (self.epoch + 1) // 2

    @property
    def dof(self) -> float:
        """Degrees of freedom of the noise in regression; infinite for Gaussian noise."""
        return self.noise_dof if self.likelihood == "student_t" else math.inf

    @property
    def holds_out(self) -> bool:
        """Whether training rows are held out to estimate the noise precision."""
        return (self.mode == REGRESSION and self.noise_update == "held_out"
                and self.likelihood not in OUTPUT_NOISE)

    @property
    def epochs_held_out(self) -> int:
        """Epochs during which training rows are held out to estimate the noise precision."""
        return self.held_out_epochs or max(1, 3 * self.epoch // 5)

    def _or_default(self, name: str) -> int:
        """Returns the value of a key, or the default of the mode if it is null."""
        value = getattr(self, name)
        return value if value is not None else getattr(MODE_DEFAULTS[self.mode], name)


def _explain(item):
    """Turns one of pydantic's errors into a short sentence."""
    name = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden" and name in OVERLAY_KEYS:
        return f"{name} is for overlays (--with) only" + ("; set exp_name here" if name == "exp_name_suffix" else "")
    if item["type"] == "extra_forbidden":
        return f"unknown key {name!r}{key_hint(name, Keys.model_fields)} (--help-config lists all)"
    if item["type"] == "missing":
        return f"key {name!r} is missing: {Keys.model_fields[name].description}"
    if item["type"] == "value_error":
        return item["msg"].split("Value error, ", 1)[-1]
    message = item["msg"][0].lower() + item["msg"][1:]
    if item["type"] == "string_pattern_mismatch":
        message = PATTERNS[item["ctx"]["pattern"]]
    hint = " (VALUE is read as JSON: true, 0.1, [20, 20], null)" if item["type"] in ("bool_type", "list_type") else ""
    return f"{name}: {message}, got {json.dumps(item['input'], default=repr)}{hint}"
