"""Repeated runs of a config on many splits, their statistics and tables. Read in this order:

tables:      statistics -> results -> report; curves
processes:   pool
stages:      tuning -> worker -> jobs -> progress -> repeat
"""
