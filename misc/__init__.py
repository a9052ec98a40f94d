"""Foundations that know nothing of networks or data sets, and import nothing of ours from outside this package.

Reading order: config (the settings of a run; config_file reads them, config_table lists them), errors (what a user
sees of them), folders and records (where a run's files go, and how they are written), log and summary (what is
reported while it trains), retry and signals (full disks and Ctrl-C), seeding (all randomness), backend (TensorFlow's
switches), lookup (tables of names), image_figures.
"""
