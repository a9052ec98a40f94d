"""The figure of benchmarks.bandits: cumulative regret against steps."""
import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

SIZE, DOTS_PER_INCH = (4.2, 3.6), 120


def draw_curves(path, done):
    """Writes a PNG: mean (line) and standard error over repeats (band) of each method, a panel per data set.

    done: {data set: {method: {repeat: cumulative regret [T]}}}.
    """
    figure, axes = plt.subplots(1, len(done), figsize=(SIZE[0] * len(done), SIZE[1]), squeeze=False)
    methods = list(dict.fromkeys(method for of_method in done.values() for method in of_method))
    for axis, (data, of_method) in zip(axes[0], done.items()):
        for method, of_repeat in of_method.items():
            values = np.stack(list(of_repeat.values()))
            steps, mean = np.arange(1, values.shape[1] + 1), values.mean(axis=0)
            error = values.std(axis=0, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.zeros_like(mean)
            color = f"C{methods.index(method)}"
            axis.plot(steps, mean, color=color, lw=1.2, label=method)
            axis.fill_between(steps, mean - error, mean + error, color=color, alpha=0.2, lw=0)
        axis.set_title(data)
        axis.set_xlabel("step")
        axis.grid(alpha=0.3)
        # Uniform choice would hide the differences between the others.
        learned = [values[-1] for method, of_repeat in of_method.items() if method != "uniform"
                   for values in of_repeat.values()]
        if learned:
            axis.set_ylim(0, 1.3 * max(*learned, 1.0))
    axes[0][0].set_ylabel("cumulative regret")
    axes[0][-1].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(str(path), dpi=DOTS_PER_INCH)
    plt.close(figure)
