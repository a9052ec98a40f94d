"""Trains other methods on the same splits, with one hidden layer of 50: a table of methods and data sets.

    pip install -r benchmarks/requirements.txt
    python -m benchmarks.peers --data concrete yacht --splits 0-4 [--methods laplace_kron ...] [--dof inf 8] [--out CSV]

All have one noise level for all inputs, and data standardised as by train.py. Hyper-parameters (GRIDS) are chosen on a
tenth of the training rows of each split, by log-likelihood, and the method is then trained on all of them; the noise
level of methods that do not learn one is the best for these validation rows. `seconds` is the time of the last fit,
`tuning` that of the choice. The grid of IVON has the values that were best on validation rows of yacht, energy and
concrete, of lr 0.03 to 1 and hess_init 0.1 to 10. A finite --dof evaluates the same networks with Student's t instead
of Gaussian noise: for all methods its scale is the best for the validation rows, and hyper-parameters are chosen by it.
regression_baseline.py --protocol standard runs our methods on the same splits (seed S: split S - 1).
"""
import argparse
import itertools
import pathlib
import time
from typing import Callable, NamedTuple, Optional

import numpy as np
import scipy.optimize
import tabulate

from benchmarks.checks import check_out, check_packages
from benchmarks.hmc import evaluate, spread
from misc import backend
from misc.config import Config
from misc.errors import UserError, one_line_errors
from misc.records import write_rows

COLUMNS = ["data", "split", "method", "dof", "rmse", "log_likelihood", "seconds", "tuning", "chosen"]
DRAWS, BATCH, HIDDEN = 200, 32, 50


class Fit(NamedTuple):
    """A trained method."""

    predict: Callable[[np.ndarray], np.ndarray]  # inputs [n, d] -> outputs [K, n]
    precision: Optional[float]                   # of the noise; None if the method does not learn it


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=["yacht_hydrodynamics"], metavar="SET")
    parser.add_argument("--splits", default="0-4", help="of the standard protocol, from 0")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--dof", nargs="+", type=float, default=[np.inf], help="degrees of freedom of the noise")
    parser.add_argument("--data-path", default="data", metavar="FOLDER")
    parser.add_argument("--out", metavar="CSV", help="write the rows to this file, too")
    args = parser.parse_args()
    with one_line_errors("benchmarks.peers", "what was printed is complete"):
        check_packages(["torch", *(PACKAGES[name] for name in args.methods if name in PACKAGES)])
        check_out(args.out)
        wrong = [dof for dof in args.dof if not dof > 2]
        if wrong:
            raise UserError(f"--dof {wrong[0]:g}: Student's t has a variance above 2 degrees of freedom only")
        backend.prepare()
        import torch

        from core.baseline.jobs import parse_seeds

        torch.set_num_threads(1)
        rows = []
        for name, split, method in itertools.product(args.data, parse_seeds(args.splits), args.methods):
            for result in compete(name, split, method, args.data_path, args.dof):
                rows.append(dict(data=name, split=split, method=method, **result))
                print(", ".join(f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}"
                                for key, value in rows[-1].items()), flush=True)
            if args.out:
                write_rows(pathlib.Path(args.out), COLUMNS, rows)
        print(table(rows))


def compete(name, split, method, data_path, dofs):
    """Yields what the table says of a method on one split, for each `dof`. Choices are made on training rows only."""
    from data_loader.regression import load_regression

    settings = dict(dataset=name, optimizer="sgd", model_name="ffn50", protocol="standard", split=split,
                    data_path=data_path)
    part = load_regression(Config.from_dict(dict(settings, validation_fraction=0.1, evaluate_on="validation")))
    fit, started, trials, fits = METHODS[method], time.perf_counter(), [], {}
    for values in itertools.product(*GRIDS[method].values()):
        setting = dict(zip(GRIDS[method], values))
        trained = fit(part.train.x, part.train.y, split, **setting)
        trials.append((trained.predict(part.valid.x), trained.precision, setting))
    data, tuning = load_regression(Config.from_dict(settings)), time.perf_counter() - started
    for dof in dofs:
        scored = []
        for outputs, own, setting in trials:
            precision = best_precision(outputs, part.valid.y, dof) if own is None or np.isfinite(dof) else own
            scored.append((log_likelihood(outputs, precision, part.valid.y, dof), precision, setting))
        _, precision, setting = max(scored, key=lambda trial: trial[0])
        chosen = " ".join(f"{key}={value}" for key, value in setting.items())
        if chosen not in fits:
            began = time.perf_counter()
            fits[chosen] = fit(data.train.x, data.train.y, split, **setting), time.perf_counter() - began
        trained, seconds = fits[chosen]
        outputs, own = trained.predict(data.test.x), trained.precision
        precisions = np.full(len(outputs), precision if own is None or np.isfinite(dof) else own)
        yield dict(evaluate(outputs, precisions, data, dof)[1], dof=dof, seconds=seconds, tuning=tuning, chosen=chosen)


def log_likelihood(outputs, precision, targets, dof):
    """Returns the mean log density under the mixture over draws, of standardised targets."""
    from core.metrics.predictive import predict

    return predict(outputs, np.full(len(outputs), precision), targets, 0.0, 1.0, dof).log_prob.mean()


def best_precision(outputs, targets, dof):
    """Returns the noise precision of the highest log-likelihood."""
    def loss(log_precision):
        return -log_likelihood(outputs, np.exp(log_precision), targets, dof)

    return float(np.exp(scipy.optimize.minimize_scalar(loss, bounds=(-3.0, 12.0), method="bounded").x))


# Networks in torch.

def network(n_inputs, seed, dropout=0.0):
    import torch
    from torch import nn

    torch.manual_seed(seed)
    layers = [nn.Linear(n_inputs, HIDDEN), nn.ReLU()]
    if dropout > 0:
        layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers, nn.Linear(HIDDEN, 1))


def tensors(*arrays):
    import torch

    return [torch.as_tensor(np.float32(array)) for array in arrays]


def minibatches(n_rows, epochs):
    """Yields the indices of the rows of every step."""
    import torch

    for _ in range(epochs):
        yield from torch.randperm(n_rows).split(BATCH)


def descend(model, x, y, epochs, weight_decay):
    """Minimises mean (y - f)^2 / 2 + weight_decay |w|^2 / (2 N) by Adam, with a cosine decay of the step size to 0."""
    import torch

    x, y = tensors(x, y)
    rule = torch.optim.Adam(model.parameters(), lr=1e-2)
    decay_rule = torch.optim.lr_scheduler.CosineAnnealingLR(rule, epochs * -(-len(x) // BATCH))
    for rows in minibatches(len(x), epochs):
        rule.zero_grad()
        decay = sum((parameter**2).sum() for parameter in model.parameters()) * weight_decay / len(x)
        (((model(x[rows])[:, 0] - y[rows])**2).mean() + decay).mul(0.5).backward()
        rule.step()
        decay_rule.step()


def outputs_of(models, x):
    import torch

    with torch.no_grad():
        return np.stack([model(*tensors(x))[:, 0].numpy() for model in models])


def fit_ensemble(x, y, seed, epochs, weight_decay):
    """Fits five networks from different initial weights, and mixes them."""
    models = [network(x.shape[1], 1000 * seed + member) for member in range(5)]
    for model in models:
        descend(model, x, y, epochs, weight_decay)
    return Fit(lambda inputs: outputs_of(models, inputs), None)


def fit_dropout(x, y, seed, rate, epochs):
    """Fits a network with dropout before the last layer, in prediction too (Gal and Ghahramani 2016)."""
    model = network(x.shape[1], seed, rate)
    descend(model, x, y, epochs, 1e-2)
    return Fit(lambda inputs: outputs_of([model.train()] * DRAWS, inputs), None)


def fit_laplace(x, y, seed, epochs):
    """Fits a Kronecker-factored Laplace approximation; prior and noise by marginal likelihood (Immer et al. 2021)."""
    import torch
    from laplace import marglik_training
    from laplace.curvature import CurvlinopsGGN
    from torch.utils.data import DataLoader, TensorDataset

    rows = DataLoader(TensorDataset(*tensors(x, y[:, None])), batch_size=BATCH * 4, shuffle=True)
    laplace = marglik_training(network(x.shape[1], seed), rows, "regression", "kron", CurvlinopsGGN, n_epochs=epochs,
                               optimizer_kwargs={"lr": 1e-2}, n_epochs_burnin=20, marglik_frequency=10)[0]

    def predict(inputs):
        mean, variance = laplace(*tensors(inputs))
        noise = np.random.RandomState(seed).randn(DRAWS, len(inputs))
        return mean.detach().numpy()[:, 0] + noise * np.sqrt(variance.detach().numpy()[:, 0, 0])

    return Fit(predict, float(torch.as_tensor(laplace.sigma_noise).detach())**-2)


def fit_ivon(x, y, seed, lr, hess_init, prior_precision):
    """Fits the improved variational online Newton method (Shen et al. 2024), and the noise beside the weights."""
    import ivon
    import torch

    model, epochs = network(x.shape[1], seed), 400
    log_precision = torch.zeros([], requires_grad=True)
    rule = ivon.IVON(model.parameters(), lr=lr, ess=len(x), hess_init=hess_init, beta2=0.999,
                     weight_decay=prior_precision / len(x), clip_radius=1e-1)
    noise_rule = torch.optim.Adam([log_precision], lr=1e-2)
    decay_rule = torch.optim.lr_scheduler.CosineAnnealingLR(rule, epochs * -(-len(x) // BATCH))
    inputs, targets = tensors(x, y)
    for rows in minibatches(len(x), epochs):
        with rule.sampled_params(train=True):
            rule.zero_grad(), noise_rule.zero_grad()
            error = (model(inputs[rows])[:, 0] - targets[rows])**2
            (0.5 * (log_precision.exp() * error - log_precision).mean()).backward()
        rule.step(), noise_rule.step(), decay_rule.step()

    def predict(inputs):
        outputs = []
        for _ in range(DRAWS):
            with rule.sampled_params():
                outputs.append(outputs_of([model], inputs)[0])
        return np.stack(outputs)

    return Fit(predict, float(log_precision.detach().exp()))


def fit_mean_field(x, y, seed, epochs, prior_variance):
    """Fits mean-field variational inference (Blundell et al. 2015) by local reparameterisation: a draw per row."""
    import torch

    torch.manual_seed(seed)
    start = network(x.shape[1], seed)
    means = [torch.cat([layer.weight.T, layer.bias[None]]).detach().requires_grad_() for layer in (start[0], start[-1])]
    logs = [torch.full_like(mean, -4.0).requires_grad_() for mean in means]
    log_precision = torch.zeros([], requires_grad=True)
    rule = torch.optim.Adam([*means, *logs, log_precision], lr=1e-2)
    decay_rule = torch.optim.lr_scheduler.CosineAnnealingLR(rule, epochs * -(-len(x) // BATCH))

    def forward(inputs, layer):
        """Returns the outputs; layer: function (inputs with a 1 appended, mean, log std) -> pre-activations."""
        for i, (mean, log) in enumerate(zip(means, logs)):
            inputs = layer(torch.cat([inputs, torch.ones(len(inputs), 1)], 1), mean, log)
            inputs = torch.relu(inputs) if i == 0 else inputs
        return inputs[:, 0]

    def per_row(a, mean, log):
        std = (a**2 @ (2 * log).exp() + 1e-12).sqrt()
        return a @ mean + std * torch.randn_like(std)

    def per_draw(a, mean, log):
        return a @ (mean + log.exp() * torch.randn_like(mean))

    inputs, targets = tensors(x, y)
    for rows in minibatches(len(x), epochs):
        rule.zero_grad()
        kl = sum((0.5 * (((2 * log).exp() + mean**2) / prior_variance - 1.0 + np.log(prior_variance)) - log).sum()
                 for mean, log in zip(means, logs))
        error = (forward(inputs[rows], per_row) - targets[rows])**2
        (0.5 * (log_precision.exp() * error - log_precision).mean() + kl / len(x)).backward()
        rule.step(), decay_rule.step()

    def predict(inputs):
        with torch.no_grad():
            return np.stack([forward(*tensors(inputs), per_draw).numpy() for _ in range(DRAWS)])

    return Fit(predict, float(log_precision.detach().exp()))


METHODS = {"laplace_kron": fit_laplace, "ivon": fit_ivon, "mc_dropout": fit_dropout, "ensemble": fit_ensemble,
           "mean_field": fit_mean_field}
PACKAGES = {"laplace_kron": "laplace", "ivon": "ivon"}
GRIDS = {
    "laplace_kron": {"epochs": [300]},
    "ivon": {"lr": [0.03, 0.1], "hess_init": [1.0, 10.0], "prior_precision": [1.0]},
    "mc_dropout": {"rate": [0.005, 0.01, 0.05, 0.1], "epochs": [100, 400]},
    "ensemble": {"epochs": [100, 400], "weight_decay": [0.01, 0.1, 1.0]},
    "mean_field": {"epochs": [400], "prior_variance": [0.1, 1.0]},
}


def table(rows):
    """Returns mean and standard error over splits, as Markdown."""
    groups = {}
    for row in rows:
        groups.setdefault((row["data"], row["method"], row["dof"]), []).append(row)
    lines = [[data, method, f"{dof:g}", len(group),
              *(spread([row[name] for row in group]) for name in ("rmse", "log_likelihood")),
              *(f"{np.mean([row[name] for row in group]):.1f}" for name in ("seconds", "tuning"))]
             for (data, method, dof), group in groups.items()]
    heads = ["data", "method", "noise dof", "splits", "RMSE", "log-likelihood", "s per fit", "s of tuning"]
    return tabulate.tabulate(lines, heads, tablefmt="github", disable_numparse=True)


if __name__ == "__main__":
    main()
