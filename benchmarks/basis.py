"""Compares eigh with one warm-started orthogonal iteration: time, and how well the new eigenbasis diagonalises.

    python -m benchmarks.basis [--dims 577 1153 2305] [--drift 0.1]

The old basis is that of a factor A. The new factor is A after a fraction `drift` of it has been replaced by another
sample from the same population. Shares are off-diagonal, in the Frobenius norm.
"""
import argparse
import time

import numpy as np

from misc import backend


def factor(rng, dim, spectrum):
    """Returns the second moments [dim, dim] of random rows; spectrum: standard deviation of each entry."""
    rows = rng.randn(4 * dim, dim).astype(np.float32) * spectrum
    return rows.T @ rows / len(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dims", type=int, nargs="+", default=[577, 1153, 2305])
    parser.add_argument("--drift", type=float, default=0.1)
    args = parser.parse_args()
    tf = backend.prepare("classification")
    from core.inference.linalg import eigh, off_diagonal_share, orthogonal_iteration

    for dim in args.dims:
        rng = np.random.RandomState(0)
        spectrum = np.linspace(-1, 3, dim).astype(np.float32) ** 2
        old = factor(rng, dim, spectrum)
        new = (1 - args.drift) * old + args.drift * factor(rng, dim, spectrum)
        with tf.Graph().as_default(), tf.Session() as session:
            matrix, basis = tf.placeholder(tf.float32, [dim, dim]), tf.placeholder(tf.float32, [dim, dim])
            share = off_diagonal_share(matrix, basis)
            methods = {"eigh": eigh(matrix)[1], "orthogonal_iteration": orthogonal_iteration(matrix, basis)[1],
                       "TensorFlow's eigh": tf.linalg.eigh(matrix)[1]}
            feed = {matrix: new, basis: session.run(methods["eigh"], {matrix: old})}
            print(f"n = {dim}: share of the old basis {session.run(share, feed):.2e}")
            for name, op in methods.items():
                session.run(op, feed)
                start = time.perf_counter()
                new_basis = session.run(op, feed)
                seconds = time.perf_counter() - start
                left = session.run(share, {matrix: new, basis: new_basis})
                print(f"  {name:<22} {seconds * 1e3:8.1f} ms   share {left:.2e}")


if __name__ == "__main__":
    main()
