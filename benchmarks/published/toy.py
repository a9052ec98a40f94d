"""Random images in the format of CIFAR-10, and settings with which a run on them takes seconds."""
import pathlib
import pickle

import numpy as np

N_BATCH, N_TEST, N_CLASSES, N_PIXELS = 40, 60, 10, 32 * 32
FILES = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
WIDTH, EPOCHS, SEEDS, METHODS, VARIANTS = 0.0625, 2, (1,), ("ekfac", "sgd"), ("plain",)
CORRUPTED_ROWS = 20
# All updates after every step: a graph with one kind of step only, which is built fastest.
VALUES = {"batch_size": 50, "epoch_rate": 1, "TCov": 1, "TInv": 1, "TEigen": 1, "TScale": 1, "early_refresh": False,
          "test_particles": 3, "interim_particles": 2, "threads": 1}
NETWORK, JOBS = {"vgg16": {"model_name": "vgg11"}}, 2


def write_images(folder: pathlib.Path) -> None:
    """Writes images whose colour depends on their class into folder/cifar-10-batches-py, the same ones every time."""
    rng, place = np.random.RandomState(0), folder / "cifar-10-batches-py"
    place.mkdir(parents=True, exist_ok=True)
    colours = rng.randint(0, 256, (N_CLASSES, 3))
    for name in FILES:
        labels = rng.randint(0, N_CLASSES, N_TEST if name == "test_batch" else N_BATCH)
        rows = 0.5 * np.repeat(colours[labels], N_PIXELS, axis=1) + rng.randint(0, 128, (len(labels), 3 * N_PIXELS))
        with open(str(place / name), "wb") as handle:
            pickle.dump({b"data": rows.astype(np.uint8), b"labels": labels.tolist()}, handle, protocol=2)
    with open(str(place / "batches.meta"), "wb") as handle:
        pickle.dump({b"label_names": [f"class {number}".encode() for number in range(N_CLASSES)]}, handle, protocol=2)
