"""Posteriors, curvature and the noisy natural-gradient step. Read in this order:

foundations: variables, linalg, convolution, adam, schedule, metrics
stages:      gaussian -> posterior -> noise -> likelihood -> factors -> curvature -> kronecker -> optimizer
             -> rates -> design -> model -> evaluation -> trainer; cost and explain tell what a run would do
"""
