"""Fits Laplace approximations with the package laplace-torch: the process that benchmarks.laplace_posteriors starts.

    python -m benchmarks.laplace_torch ROWS.npz PREDICTIONS.npz

It is a process of its own, since importing torch beside TensorFlow crashes where both bring an LLVM. Two networks are
trained by Adam with a step size that falls to 0 along a cosine, and every approximation of STRUCTURES is made of both:

- `map` has the prior N(0, eta I) of the config, and its noise level is trained beside the weights;
- `online` is trained by Algorithm 1 of Immer et al. (2021): the noise level and prior precisions, one per weight matrix
  and bias vector, maximise the marginal likelihood of a full Kronecker-factored approximation during the training.

Each approximation then has the prior precisions and the noise level that maximise its own marginal likelihood: one
precision per weight matrix and bias vector, and one for both of a last layer.

Reference: Daxberger et al. (2021), Laplace Redux, https://arxiv.org/abs/2106.14806; Immer et al. (2021),
https://arxiv.org/abs/2104.04975
"""
import itertools
import json
import sys
import time
from typing import NamedTuple

import laplace
import numpy as np
import torch
from laplace.curvature import CurvlinopsGGN
from laplace.marglik_training import marglik_training

STRUCTURES = {"last full": ("last_layer", "full"), "last kron": ("last_layer", "kron"), "all kron": ("all", "kron")}
LEARNING_RATE = 1e-2
ROUNDS, HYPERSTEPS, BURN_IN = 50, 10, 0.05  # of `online`: updates of prior and noise, steps in each, share without them
STEPS = 200                                 # by which the marginal likelihood of an approximation is maximised


class Settings(NamedTuple):
    """What the file of rows says beside the rows."""

    hidden: list         # widths of the hidden layers
    n_outputs: int
    regression: bool
    epochs: int
    batch_size: int
    prior_variance: float
    seed: int


class Batches:
    """A loader of minibatches in a new random order in each epoch; torch's takes far longer for rows in memory."""

    def __init__(self, x, y, size):
        self.dataset = torch.utils.data.TensorDataset(x, y)
        self._size = size

    def __len__(self):
        return -(-len(self.dataset) // self._size)

    def __iter__(self):
        for rows in torch.randperm(len(self.dataset)).split(self._size):
            yield self.dataset[rows]


def main():
    rows_path, out_path = sys.argv[1:]
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    with np.load(rows_path) as rows:
        settings = Settings(**json.loads(str(rows["settings"])))
        x, new = torch.tensor(np.float64(rows["x"])), torch.tensor(np.float64(rows["new"]))
        y = torch.tensor(np.float64(rows["y"]))[:, None] if settings.regression else torch.tensor(np.int64(rows["y"]))
    found = {}
    for name, train in (("map", train_map), ("online", train_online)):
        torch.manual_seed(settings.seed)
        began = time.perf_counter()
        batches, network = Batches(x, y, settings.batch_size), new_network(x.shape[1], settings)
        model, precisions, sigma = train(batches, network, settings)
        trained = time.perf_counter() - began
        for structure in STRUCTURES:
            began = time.perf_counter()
            approximation = approximate(model, x, y, structure, precisions, sigma, settings.regression)
            for key, value in predict(approximation, new, settings.regression).items():
                found[f"{structure}, {name}/{key}"] = value
            found[f"{structure}, {name}/seconds"] = trained + time.perf_counter() - began
    np.savez(out_path, **found)


def new_network(n_inputs, settings):
    """Returns a network of ReLU layers, with torch's initial weights."""
    widths = [n_inputs, *settings.hidden]
    layers = [(torch.nn.Linear(*pair), torch.nn.ReLU()) for pair in zip(widths, widths[1:])]
    return torch.nn.Sequential(*itertools.chain(*layers), torch.nn.Linear(widths[-1], settings.n_outputs))


def train_map(batches, model, settings):
    """Returns (network, prior precision of each parameter tensor, noise level), trained for the posterior mode."""
    log_sigma = torch.zeros(1, requires_grad=settings.regression)
    parameters, n_rows = list(model.parameters()), len(batches.dataset)
    rule = torch.optim.Adam([*parameters, log_sigma] if settings.regression else parameters, lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(rule, settings.epochs * len(batches))
    for _ in range(settings.epochs):
        for inputs, targets in batches:
            rule.zero_grad()
            outputs = model(inputs)
            if settings.regression:
                loss = 0.5 * ((outputs - targets)**2).mean() * torch.exp(-2.0 * log_sigma) + log_sigma
            else:
                loss = torch.nn.functional.cross_entropy(outputs, targets)
            squares = sum((each**2).sum() for each in parameters)
            (loss + 0.5 * squares / (settings.prior_variance * n_rows)).sum().backward()
            rule.step()
            schedule.step()
    precisions = torch.full((len(parameters),), 1.0 / settings.prior_variance)
    return model, precisions, log_sigma.exp().item()


def train_online(batches, model, settings):
    """Returns the same of a network whose prior and noise maximise the marginal likelihood during the training."""
    found, model, _, _ = marglik_training(
        model, batches, "regression" if settings.regression else "classification", "kron", CurvlinopsGGN,
        optimizer_kwargs={"lr": LEARNING_RATE}, scheduler_cls=torch.optim.lr_scheduler.CosineAnnealingLR,
        scheduler_kwargs={"T_max": settings.epochs * len(batches)}, n_epochs=settings.epochs,
        n_epochs_burnin=int(BURN_IN * settings.epochs), n_hypersteps=HYPERSTEPS,
        marglik_frequency=max(1, settings.epochs // ROUNDS), prior_prec_init=1.0 / settings.prior_variance)
    return model, found.prior_precision.detach(), float(found.sigma_noise)


def approximate(model, x, y, structure, precisions, sigma, regression):
    """Returns the Laplace approximation of largest marginal likelihood; precisions, sigma: where its search starts."""
    subset, hessian = STRUCTURES[structure]
    options = {"sigma_noise": sigma} if regression else {}
    if subset == "all":
        options["backend"] = CurvlinopsGGN
    found = laplace.Laplace(model, "regression" if regression else "classification", subset_of_weights=subset,
                            hessian_structure=hessian, **options)
    found.fit(Batches(x, y, len(x)))
    log_precisions = (precisions if subset == "all" else precisions[-2:].mean()[None]).log().requires_grad_()
    log_sigma = torch.tensor([sigma]).log().requires_grad_()
    rule = torch.optim.Adam([log_precisions, log_sigma] if regression else [log_precisions], lr=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(rule, STEPS)
    for _ in range(STEPS):
        rule.zero_grad()
        evidence = found.log_marginal_likelihood(log_precisions.exp(), log_sigma.exp() if regression else None)
        (-evidence).sum().backward()
        rule.step()
        schedule.step()
    found.prior_precision = log_precisions.detach().exp()
    if regression:
        found.sigma_noise = log_sigma.detach().exp()
    return found


def predict(approximation, new, regression):
    """Returns arrays for inputs [m, d], of the linearised network: mean and variance of y, or class probabilities."""
    with torch.no_grad():
        if not regression:
            return {"probabilities": approximation(new, pred_type="glm", link_approx="probit").numpy()}
        mean, variance = approximation(new, pred_type="glm")
        return {"mean": mean[:, 0].numpy(), "variance": (variance[:, 0, 0] + approximation.sigma_noise**2).numpy()}


if __name__ == "__main__":
    main()
