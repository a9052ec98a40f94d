"""Reads the config file of a method and a data set, for one split of the standard protocol."""
from misc.config import Config

PATTERN = "config/regression/{method}_{data}.json"
PATTERN_HELP = "pattern of config files"
SET_HELP = "for {}; {{data}} in VALUE stands for the data set"


def standard_config(pattern, method, data, split, overrides=(), overlays=()):
    """Returns (Config, with seed split + 1, path of its file).

    Args:
      pattern: path of the config file, in which {method} and {data} are replaced.
      overrides: KEY=VALUE strings, in which {data} is replaced. So a data set without a config file of its own can
        take the file of another one, with `dataset={data}`.
      overlays: paths of files that are laid over the config file.
    """
    path = pattern.format(method=method, data=data)
    overrides = [override.replace("{data}", data) for override in overrides]
    values = Config.from_file(path, overrides, list(overlays)).model_dump(exclude_unset=True)
    return Config.from_dict(dict(values, protocol="standard", split=split, seed=split + 1, evaluate_on="test")), path
