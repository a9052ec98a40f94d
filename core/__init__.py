"""Posteriors, curvature and the noisy natural-gradient step. Read in this order:

foundations: variables, linalg, convolution, adam, schedule, metrics
stages:      gaussian -> posterior -> likelihood -> factors -> curvature -> optimizer
             -> model -> evaluation -> trainer; explain tells what a run would do
"""
