"""Runs to evaluate, and what their evaluations wrote."""
import json

import numpy as np

import train
from core.assessment.evaluated import evaluate_run
from core.assessment.inputs import Options
from data_loader.images import read_digits
from misc.config import Config
from misc.folders import run_folder

NOTHING = Options()
DIGITS = dict(mode="classification", dataset="digits", optimizer="ekfac", model_name="ffn", hidden=[8], epoch=3,
              batch_size=128, learning_rate=0.01, kl_clip=0.01, clip_warmup=0, kl_warmup=0, train_particles=1,
              test_particles=4, TCov=3, TEigen=6, TScale=3, split=1)
TOY = dict(dataset="toy1d", model_name="ffn", hidden=[12], epoch=600, batch_size=20, train_particles=6,
           test_particles=100, noise_prior_rate=0.1, epoch_rate=300, alpha=0.02, split=1)


def train_run(folder, **settings):
    """Trains and returns the run's folder."""
    values = dict(settings, data_path=str(folder), experiments_path=str(folder / "experiments"))
    path = folder / f"{values.get('exp_name', 'config')}.json"
    path.write_text(json.dumps(values))
    train.main(["--config", str(path)])
    return run_folder(Config.from_dict(values)).root


def numbers(folder):
    return json.loads((folder / "evaluation" / "metrics.json").read_text())


def figures(folder):
    return sorted(path.stem for path in folder.glob("*.png"))


def evaluated(root, options=NOTHING, **overrides):
    return evaluate_run(root, overrides, options)


def write_digits(folder, labels):
    """Writes images of scikit-learn's digits with these labels into folders named after the labels."""
    from PIL import Image

    data = read_digits()
    for label in labels:
        (folder / str(label)).mkdir(parents=True)
        for i in np.flatnonzero(data.labels == label)[:20]:
            Image.fromarray(data.images[i, ..., 0]).save(str(folder / str(label) / f"{i}.png"))
