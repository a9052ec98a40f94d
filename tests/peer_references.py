"""Compares benchmarks.peers with torch and the packages of the methods: python -m tests.peer_references

These run in a process of their own, since importing torch beside TensorFlow crashes where both bring an LLVM.
"""
import ivon
import laplace
import numpy as np
import torch
from laplace.curvature import CurvlinopsGGN
from pytest import approx
from torch import nn

from benchmarks import peer_laplace, peer_training
from benchmarks.peer_training import BATCH, HIDDEN

N_ROWS, N_INPUTS = 75, 4  # three minibatches, the last one of 11 rows


def main():
    rng = np.random.default_rng(3)
    x = np.float32(np.column_stack([rng.standard_normal((N_ROWS, N_INPUTS)), np.ones(N_ROWS)]))
    rows = x, np.float32(np.sin(x[:, 0]) + 0.1 * x[:, 1])
    weights = peer_training.initial_weights(N_INPUTS + 1, rng)
    check_descent(rows, weights)
    check_ivon(rng)
    check_mean_field(rows, weights, rng)
    check_laplace(rows, weights)


def torch_outputs(weights, x):
    first, last = weights[:-HIDDEN - 1].reshape(-1, HIDDEN), weights[-HIDDEN - 1:]
    return torch.relu(x @ first) @ last[:-1] + last[-1]


def check_descent(rows, weights):
    x, y = rows
    epochs, decay, ours = 5, 0.7, weights.copy()
    peer_training.descend(ours, np.zeros((2, len(weights)), np.float32), x, y, (0, epochs, epochs), 1e-2,
                          np.full(len(weights), decay, np.float32), 0.0, np.random.default_rng(1))
    theirs = torch.tensor(weights, requires_grad=True)
    rule = torch.optim.Adam([theirs], lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(rule, epochs * -(-N_ROWS // BATCH))
    order = np.random.default_rng(1)
    x, y = torch.tensor(x), torch.tensor(y)
    for _ in range(epochs):
        for batch in torch.tensor(order.permutation(N_ROWS)).split(BATCH):
            rule.zero_grad()
            error = torch_outputs(theirs, x[batch]) - y[batch]
            (0.5 * ((error**2).mean() + decay * (theirs**2).sum() / N_ROWS)).backward()
            rule.step(), schedule.step()
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=2e-3, atol=2e-5)
    assert np.abs(ours - weights).max() > 0.02


def check_ivon(rng):
    start, goal = np.float32(rng.standard_normal(7)), torch.tensor(np.float32(rng.standard_normal(7)))
    n_rows, hess_init, delta, lr = 40.0, 0.5, 0.02, 0.1
    theirs = torch.nn.Parameter(torch.tensor(start))
    rule = ivon.IVON([theirs], lr=lr, ess=n_rows, hess_init=hess_init, beta2=0.999, weight_decay=delta,
                     clip_radius=0.1)
    ours, hessian, momentum = start.copy(), np.full(7, hess_init, np.float32), np.zeros(7, np.float32)
    for step in range(20):
        with rule.sampled_params(train=True):
            noise = theirs.detach().numpy() - ours
            rule.zero_grad()
            (0.25 * (theirs - goal)**4).sum().backward()
            gradient = theirs.grad.numpy().copy()
        rule.step()
        peer_training.ivon_step(ours, hessian, momentum, gradient, noise, step, lr, (n_rows, hess_init, delta))
        np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-4, atol=1e-5)
        ours = theirs.detach().numpy().copy()
    np.testing.assert_allclose(hessian, rule.param_groups[0]["hess"].numpy(), rtol=1e-4)


def check_mean_field(rows, weights, rng):
    x, y = rows
    posterior = np.concatenate([weights, rng.uniform(-3.0, -1.0, len(weights)), [0.3]]).astype(np.float32)
    normals, batch = np.float32(rng.standard_normal((12, HIDDEN + 1))), rng.permutation(N_ROWS)[:12]
    gradient = np.zeros_like(posterior)
    peer_training.add_mean_field_gradient(posterior, x, y, batch, normals, gradient)
    theirs = torch.tensor(posterior, dtype=torch.float64, requires_grad=True)
    mean, variance = theirs[:len(weights)], (2.0 * theirs[len(weights):-1]).exp()
    inputs, noise = torch.tensor(x[batch], dtype=torch.float64), torch.tensor(normals, dtype=torch.float64)
    first, last = slice(0, -HIDDEN - 1), slice(-HIDDEN - 1, None)
    hidden = torch.relu(inputs @ mean[first].reshape(-1, HIDDEN)
                        + noise[:, :-1] * (inputs**2 @ variance[first].reshape(-1, HIDDEN)).sqrt())
    hidden = torch.cat([hidden, torch.ones(12, 1, dtype=torch.float64)], 1)
    error = hidden @ mean[last] + noise[:, -1] * (hidden**2 @ variance[last]).sqrt() - torch.tensor(y[batch])
    (0.5 * (theirs[-1].exp() * error**2 - theirs[-1])).mean().backward()
    np.testing.assert_allclose(gradient, theirs.grad.numpy(), rtol=1e-3, atol=1e-5)


def check_laplace(rows, weights):
    x, y = rows
    logs = np.array([0.3, -0.4, 0.8, 0.1, -1.2])
    found = peer_laplace.curvature(weights, x)
    value, slope = peer_laplace.log_evidence(weights, x, y, found, logs)
    model = nn.Sequential(nn.Linear(N_INPUTS, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1))
    first, bias, last, last_bias = (torch.tensor(block) for block in peer_laplace.blocks(weights))
    for parameter, block in zip(model.parameters(), (first.T, bias, last[None], last_bias)):
        parameter.data = block.contiguous()
    inputs = torch.tensor(x[:, :-1])
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(inputs, torch.tensor(y)[:, None]), N_ROWS)
    theirs = laplace.Laplace(model, "regression", hessian_structure="kron", subset_of_weights="all",
                             backend=CurvlinopsGGN, sigma_noise=float(np.exp(logs[-1])),
                             prior_precision=torch.tensor(np.exp(logs[:-1]), dtype=torch.float32))
    theirs.fit(loader)
    assert value == approx(float(theirs.log_marginal_likelihood().detach()), rel=1e-4)
    variance = theirs(inputs)[1].detach().numpy()[:, 0, 0]
    np.testing.assert_allclose(peer_laplace.output_variance(weights, x, found, logs), variance, rtol=1e-3)
    for i in range(5):
        values = [peer_laplace.log_evidence(weights, x, y, found, logs + sign * 1e-5 * np.eye(5)[i])[0]
                  for sign in (1, -1)]
        assert slope[i] == approx((values[0] - values[1]) / 2e-5, rel=1e-4, abs=1e-3)


if __name__ == "__main__":
    main()
