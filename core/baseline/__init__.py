"""Repeated runs of configs on many splits: what regression_baseline.py does. Read in this order:

tables      kinds (what depends on the mode), statistics -> results -> report; curves; ensembles
processes   worker (one run in a process of its own) -> pool (many at a time); probe
stages      options -> jobs (configs x seeds) -> tuning -> planning -> progress -> running -> writing -> repeat
"""
