"""Settings of runs that last seconds."""

SETTINGS = dict(mode="classification", dataset="digits", optimizer="ekfac", model_name="ffn", hidden=[8], epoch=2,
                batch_size=128, learning_rate=0.01, kl_clip=0.01, train_particles=1, test_particles=3, TCov=3, TInv=6,
                TEigen=6, TScale=3, split=1)


def settings(folder, **overrides):
    """Returns settings of a run on digits in the folder; None leaves a key out."""
    values = dict(SETTINGS, data_path=str(folder), experiments_path=str(folder / "experiments"), **overrides)
    return {name: value for name, value in values.items() if value is not None}
