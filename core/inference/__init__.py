"""What a reviewer holds beside the papers: posteriors, curvature and the noisy natural-gradient step.

Everything here is a pure function of tensors; variables and sessions live in core/training. Read in this order:

linalg, gaussian, posteriors      the algebra of Kronecker factors, and the variational posteriors q(W)
factors, conv_factors             curvature statistics of dense and convolutional layers
families, kfac, ekfac             what preconditions the step, and the posterior that follows: noisy Adam, K-FAC, EK-FAC
likelihoods, noise_precision      p(y | outputs), and the noise level of a regression
step_sizes, optimizer             schedules of the step, and the step itself; METHODS lists all methods
types, adam, solvers              names of types; moving averages; how factors are decomposed, and what if that fails
"""
