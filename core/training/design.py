"""Design: all that is known and checked before the graph is built. Plan: a Design with its data and device."""
import pathlib
from typing import Any, Callable, FrozenSet, Iterable, List, NamedTuple, Optional, Tuple

from core.inference import optimizer
from core.inference.gaussian import Prior
from core.inference.likelihoods import LIKELIHOODS, NOISE_KEYS, Likelihood
from core.inference.optimizer import LayerMethod
from core.inference.step_sizes import Refreshes
from core.training.cost import refresh_multiple
from core.training.schedule import Schedule
from core.training.tasks import TASKS, Task
from data_loader.batches import steps_per_epoch
from data_loader.parts import Spec
from misc.config import CLASSIFICATION, Config, key_mode
from misc.config_keys import LINEARISED
from misc.errors import UserError
from misc.lookup import lookup
from networks import NETWORKS
from networks.layers import LayerSpec, layer_specs


class Design(NamedTuple):
    """Made once by `design_run`, and handed on to the graph, the trainer and the explanation."""

    config: Config
    task: Task                  # what depends on the mode
    spec: Spec                  # what the graph must know of the data
    network: Callable           # function (x, layers, n_outputs) -> outputs
    layers: List[LayerMethod]   # how each layer is trained, in the network's order
    prior: Prior                # N(0, eta I), and the weight of its KL
    likelihood: Likelihood      # p(y | outputs)
    schedule: Schedule          # which updates are due after which step
    n_epochs: int               # epochs that are trained: config's `epoch`, or more if the run is lengthened
    steps_per_epoch: int
    batch_size: int             # rows of a minibatch
    last_batch_size: int        # rows of the last one of an epoch if it is smaller; 0: it is not
    n_test_particles: int       # weight draws of an evaluation: one is enough without weight noise
    particles_at_once: int      # of these, how many one evaluation call holds
    refresh_multiple: int = 1   # of the periods that the config gives or leaves at their defaults (auto_refresh)
    anew: FrozenSet[str] = frozenset()  # parts of the state, of ANEW, that begin anew in spite of init_from

    @property
    def linearised(self) -> bool:
        """Whether predictions are made of the linearised network."""
        return self.config.predictive == LINEARISED and any(layer.noisy for layer in self.layers)

    @property
    def reads(self) -> FrozenSet[str]:
        """Config keys that affect the method and are not read by every method."""
        return frozenset(optimizer.METHODS[self.config.optimizer].family.reads)

    @property
    def refreshes(self) -> Refreshes:
        """How often the curvature is updated."""
        return Refreshes(self.schedule.periods, self.refresh_multiple)

    def goes_on(self, part: str) -> bool:
        """Tells whether the moving averages of a part of the state go on from those of another run (init_from)."""
        return self.config.init_from is not None and part not in self.anew


CURVATURE, NOISE, NORMS = "curvature", "noise level", "moments of batch normalisations"
ANEW = (CURVATURE, NOISE, NORMS)
"""Parts of the state that begin anew if the run that init_from names was trained otherwise."""


class Start(NamedTuple):
    """The checkpoint of another run from which a run starts (config's `init_from`)."""

    run: str               # that run's folder
    prefix: pathlib.Path   # of the checkpoint's files
    step: int              # steps of training behind it
    sha256: str            # of its values
    notices: Tuple[str, ...]  # sentences about what the run would take over
    layers: Optional[List[LayerMethod]] = None  # that run's, of which the weights alone are taken; None: all is


class Plan(NamedTuple):
    """A run that has passed every check."""

    config: Config
    data: Any       # TableData or ImageData
    design: Design
    device: str     # TensorFlow's name of the device that the ops go to
    device_reason: str = "as asked for"  # why it is this one
    start: Optional[Start] = None  # None: fresh weights, or a run that is resumed


def design_run(config: Config, spec: Spec) -> Design:
    """Looks up and checks every part of a run; builds nothing. Raises UserError for what does not exist or fit."""
    task, known = TASKS[config.kind], lookup(NETWORKS, config.model_name, "model_name")
    if known.images_only and len(spec.shape) != 3:
        raise UserError(f"model_name {config.model_name} takes images, but {config.dataset} has rows of "
                        f"{spec.shape[0]} numbers: take ffn50 or another network of dense layers")
    network = known.make(config)
    likelihood = lookup(LIKELIHOODS, task.likelihood(config, spec.n_outputs), "likelihood")(config, spec.n_outputs)
    prior = Prior(spec.n_rows, config.kl, config.eta)
    specs = layer_specs(network, spec.shape, likelihood.n_outputs)
    batch_size = min(config.batch_size, spec.n_rows)
    _check_norms(specs, batch_size)
    layers = optimizer.layer_methods(config, specs, prior)
    updates = {name: None for layer in layers if layer.family for name in layer.family.updates}
    periods = task.periods(config, list(updates))
    n_test_particles = config.test_particles if any(layer.noisy for layer in layers) else 1
    all_dense = all(layer.geometry is None for layer in specs)
    design = Design(
        config, task, spec, network, layers, prior, likelihood,
        schedule=Schedule(periods, task.early_steps(config, periods)),
        n_epochs=config.epoch,
        steps_per_epoch=steps_per_epoch(spec.n_rows, config.batch_size),
        batch_size=batch_size,
        last_batch_size=spec.n_rows % batch_size,
        n_test_particles=n_test_particles,
        particles_at_once=n_test_particles if all_dense else 1)
    return with_multiple(design, refresh_multiple(design)) if config.auto_refresh else design


def with_multiple(design: Design, multiple: int) -> Design:
    """Returns the design whose curvature is updated after `multiple` of the periods that the config gives."""
    longer = {name: period // design.refresh_multiple * multiple for name, period in design.schedule.periods.items()}
    schedule = Schedule(longer, design.task.early_steps(design.config, longer))
    return design._replace(schedule=schedule, refresh_multiple=multiple)


def _check_norms(specs: Iterable[LayerSpec], batch_size: int) -> None:
    """Raises UserError if minibatches are too small for a batch normalisation."""
    for spec in specs:
        if not spec.has_weights and batch_size * spec.n_locations < 2:
            raise UserError(f"batch_norm: {spec.name} has one value per channel in every minibatch: a single value has "
                            "no variance to normalise by; set batch_size to 2 or more, or batch_norm to false")


def with_anew(design: Design, anew: Iterable[str]) -> Design:
    """Returns the design of a run in which these parts of the state begin anew in spite of init_from."""
    design = design._replace(anew=frozenset(anew))
    if NOISE not in design.anew:
        return design
    fresh, name = without_start(design.config), design.task.likelihood(design.config, design.spec.n_outputs)
    return design._replace(likelihood=lookup(LIKELIHOODS, name, "likelihood")(fresh, design.spec.n_outputs))


def without_start(config: Config) -> Config:
    """Returns the config by which moving averages begin as in a run without init_from."""
    return config.model_copy(update={"init_from": None})


def with_solver(design: Design, solver: Callable) -> Design:
    """Returns the same design with other factorisations; solver: function of a layer's name, see solvers.py."""
    specs = [layer.spec for layer in design.layers]
    return design._replace(layers=optimizer.layer_methods(design.config, specs, design.prior, solver))


def notices(design: Design) -> List[str]:
    """Returns sentences about settings that are accepted, but have no effect or are known to do harm."""
    config = design.config
    unread = lookup(NETWORKS, config.model_name, "model_name").ignores
    return (_method_notices(config) + _without_effect(config, unread, "model_name", config.model_name)
            + _noise_notices(config, design.n_epochs) + _scale_notices(config) + _warmup_notices(design))


def _warmup_notices(design: Design) -> List[str]:
    """Returns warnings of warm-ups that are not over before the training ends.

    That of kl_clip is only named if it is set: with its default, the published schedule, shorter runs train well.
    """
    config, n_steps, sentences = design.config, design.n_epochs * design.steps_per_epoch, []
    is_noisy = any(layer.noisy for layer in design.layers)
    if (is_noisy or config.sets("kl_warmup")) and 0 < config.warmup_epochs >= design.n_epochs:
        noise = ", and with it the weight noise," if is_noisy else ""
        sentences.append(f"warning: the weight of the KL term{noise} still grows when the training of "
                         f"{design.n_epochs} epochs ends, because kl_warmup is {config.warmup_epochs}: set kl_warmup "
                         "to a part of epoch")
    if config.sets("clip_warmup") and "clip_warmup" in design.reads and 0 < config.clip_warmup >= n_steps:
        sentences.append(f"warning: the warm-up of kl_clip is not over when the training of {n_steps} steps ends, "
                         f"because clip_warmup is {config.clip_warmup}: set clip_warmup to a part of these steps")
    return sentences


def _without_effect(config: Config, names: Iterable[str], key: str, value: str) -> List[str]:
    """Returns a sentence about those of the keys `names` that are set although `key` makes them meaningless."""
    names = sorted(name for name in names if config.sets(name))
    if not names:
        return []
    return [f"note: {', '.join(names)} {'has' if len(names) == 1 else 'have'} no effect with {key} {value}"]


def _method_notices(config: Config) -> List[str]:
    method, sentences = lookup(optimizer.METHODS, config.optimizer, "optimizer"), []
    if config.fisher_approx not in (None, method.fisher_approx):
        sentences.append(f"note: fisher_approx {config.fisher_approx} does not match optimizer {config.optimizer} "
                         "and is ignored")
    read = {*method.family.reads, *method.vectors.reads}
    sentences += _without_effect(config, optimizer.CURVATURE_KEYS - read, "optimizer", config.optimizer)
    if not method.noisy:
        sentences += _without_effect(config, ["posterior_layers", "predictive"], "optimizer", config.optimizer)
    updates = method.family.updates
    resets = key_mode("re_init") == config.mode and config.re_init and method.noisy and "reinit" in updates
    if resets and config.sets("re_init_iters") and "reinit" not in TASKS[config.kind].periods(config, updates):
        sentences.append("note: re_init_iters has no effect: R is re-initialised at every change of basis anyway "
                         "(kfac_init_after_basis)")
    return sentences


def _scale_notices(config: Config) -> List[str]:
    """Returns a warning of settings by which R of a noisy classification is not damped, or is measured."""
    method = lookup(optimizer.METHODS, config.optimizer, "optimizer")
    if config.mode != CLASSIFICATION or not method.noisy or "scale_init" not in method.family.reads:
        return []
    named = []
    if config.scale_init == "exact":
        named.append("scale_init exact")
    if not config.kfac_init_after_basis:
        named.append("kfac_init_after_basis false")
    if not named:
        return []
    return [f"warning: with {', '.join(named)}, R rests on the gradients of few minibatches, without damping; in "
            "classification it is far too small in many directions, and the weight noise there destroys what the "
            "network has learned: set scale_init damped and kfac_init_after_basis true"]


def _noise_notices(config: Config, n_epochs: int) -> List[str]:
    kind = lookup(LIKELIHOODS, TASKS[config.kind].likelihood(config, 1), "likelihood")
    unread = ("learning_rate",) if config.holds_out else ("held_out", "held_out_epochs")
    sentences = _without_effect(config, kind.reads.intersection(unread), "noise_update", config.noise_update)
    method = lookup(optimizer.METHODS, config.optimizer, "optimizer")
    n_particles = config.train_particles if method.noisy else 1
    if kind.has_precision and config.noise_update == "leave_one_out" and n_particles == 1:
        sentences.append("note: with one weight draw per step, or without weight noise, noise_update leave_one_out is "
                         "the same as conjugate")
    if config.predictive_noise == "leave_one_out" and (not method.noisy or config.test_particles == 1):
        sentences.append("warning: without weight noise, or from a single draw (test_particles 1), the leverage of a "
                         "row is unknown, and predictive_noise leave_one_out fits the noise to the errors on the "
                         "training rows, which is too low for new rows: set predictive_noise to trained"
                         + (" and noise_update to held_out" if kind.has_precision else ""))
    if config.kl_candidates and config.sets("kl"):
        sentences.append("note: kl has no effect: one of kl_candidates is chosen before the training")
    sentences += _without_effect(config, NOISE_KEYS - kind.reads, "likelihood", config.likelihood)
    if config.holds_out and config.epochs_held_out >= n_epochs:
        sentences.append(f"note: the rows held out until epoch {config.epochs_held_out} of {n_epochs} never train")
    return sentences
