"""Repeated runs of a config on many splits, their statistics and tables. Read in this order:

foundations: statistics, results, curves, report, pool
stages:      tuning -> worker -> jobs -> progress -> repeat
"""
