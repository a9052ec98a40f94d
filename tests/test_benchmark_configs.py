"""How benchmarks read the config file of a method, a data set and a split."""
import json

from benchmarks.configs import standard_config


def test_a_pattern_names_the_file_and_the_split_the_seed(settings, tmp_path):
    (tmp_path / "kfac_a.json").write_text(json.dumps(settings(dataset="a")))
    config, path = standard_config(str(tmp_path / "{method}_{data}.json"), "kfac", "a", 3, ["epoch=7"])
    assert path == str(tmp_path / "kfac_a.json") and config.dataset == "a" and config.epoch == 7
    assert (config.protocol, config.split, config.seed, config.evaluate_on) == ("standard", 3, 4, "test")


def test_a_data_set_takes_the_file_of_another_one(settings, tmp_path):
    (tmp_path / "kfac_a.json").write_text(json.dumps(settings(dataset="a")))
    config, _ = standard_config(str(tmp_path / "kfac_a.json"), "kfac", "b", 0, ["dataset={data}", "exp_name={data}_2"])
    assert (config.dataset, config.exp_name) == ("b", "b_2")
