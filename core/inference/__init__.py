"""What a reviewer holds beside the papers: posteriors, curvature and the noisy natural-gradient step.

Read it from the maths to the step:

linalg -> gaussian -> posteriors     matrix algebra, the prior and its KL, q(W)
factors, conv_factors                curvature statistics of a minibatch, for dense layers and convolutions
likelihoods, noise_precision         p(y | outputs) and its scores; the noise of a regression
adam, step_sizes, solvers            moving averages, step sizes as functions of the step, checked factorisations
families -> kronecker, kfac, ekfac   noisy Adam, noisy K-FAC and noisy EK-FAC, each with its posterior and its step
optimizer                            METHODS, and one step of all layers
"""
