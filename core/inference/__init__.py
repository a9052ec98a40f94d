"""The maths, to be read beside the papers: posteriors, curvature and the noisy natural-gradient step.

All of it is pure: tensors in, tensors out. Read it in this order, from the formulas to the step:

linalg -> gaussian                     matrix algebra; the prior and its KL
normals -> posteriors                  random numbers; q(W)
factors, conv_factors                  curvature statistics of a minibatch, for dense layers and convolutions
noise_model -> noise_precision         the noise of a regression: closed forms; how its precision is trained
likelihood_base -> likelihoods         p(y | outputs) and its scores
adam, step_sizes, solvers              moving averages; step sizes as functions of the step; checked factorisations
families -> kronecker -> kfac, ekfac   noisy Adam, noisy K-FAC and noisy EK-FAC: each with its posterior and its step
batch                                  what a step knows of a layer: statistics' inputs, and the gradient of the bound
linearised                             covariance of the outputs of the linearised network
optimizer                              METHODS, and one step of all layers

A new posterior family is a subclass of `families.Family` and a row of `optimizer.METHODS`; a new likelihood a subclass
of `likelihoods.Likelihood` and a row of LIKELIHOODS; a new kind of layer a method of both classes in networks/layers.py
and a row of `factors.STATISTICS`.
"""
