"""DATASETS: the data sets that are known by name. To add one, add a row.

Any other NAME.data in data_path works without a row; its shape is then not checked.
"""
import collections

from data_loader.sources import by_hand, openml, rdataset

KnownSet = collections.namedtuple(
    "KnownSet", ["n_rows", "n_inputs", "target", "fetch", "n_standard_splits", "standard_hash", "rows_hash"])

# name -> rows, inputs, what is predicted, where it comes from if data_path has no NAME.data;
# number of splits of the standard protocol, split_hash of them all, rows_hash of the order of
# rows they were made for (None: not known).
DATASETS = {
    "concrete": KnownSet(1030, 8, "compressive strength",
                         rdataset("modeldata", "concrete", "compressive_strength", openml(44959, "strength")),
                         20, "bfd0744ccd3486ec", "d0e2d2f0f5027762"),
    "energy": KnownSet(768, 8, "heating load", openml(44960, "heating_load", drop="cooling_load"),
                       20, "78d41186aa1446f5", "3563209cb65c108b"),
    "housing": KnownSet(506, 13, "median value", rdataset("MASS", "Boston", "medv", openml(531, "MEDV")),
                        20, "34fc9307c7acf63f", "832e894115c56dd2"),
    "wine": KnownSet(1599, 11, "quality of red wine", openml(44972, "quality"),
                     20, "6da07f4b6b2b9dc1", "d4f6a6d672e0ee31"),
    "yacht_hydrodynamics": KnownSet(308, 6, "residuary resistance", openml("yacht_hydrodynamics"),
                                    20, "efd4f6dc803ed627", "ec08588637fd9358"),
    "power_plant": KnownSet(9568, 4, "electrical output",
                            by_hand("https://archive.ics.uci.edu/dataset/294/combined+cycle+power+plant"),
                            20, "d2bfef6e86be2114", "d3c75624ea5df125"),
    "kin8nm": KnownSet(8192, 8, "distance of a robot arm's end", openml(189, "y"),
                       20, "4f25cc41cfa6f4f8", None),
    "naval": KnownSet(11934, 17, "turbine decay, compressor decay among the inputs",
                      openml(44969, "gt_turbine_decay_state_coefficient"),
                      20, "50e29695fc663088", None),
    "naval_compressor": KnownSet(11934, 16, "compressor decay, turbine decay left out",
                                 openml(44969, "gt_compressor_decay_state_coefficient",
                                        drop="gt_turbine_decay_state_coefficient"),
                                 20, "50e29695fc663088", None),
    "protein": KnownSet(45730, 9, "RMSD of a protein's structure", openml(44963, "RMSD"),
                        5, "48568d75692c7a47", None),
    "year_prediction": KnownSet(515345, 90, "year of a song", openml(44027),
                                1, None, None),
}
