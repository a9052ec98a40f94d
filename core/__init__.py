"""Noisy natural gradient. A reader with the papers in hand begins in core/inference.

inference   posteriors, curvature and the noisy natural-gradient step: pure functions of tensors
metrics     metrics of predictions: arrays in, floats out
training    one run: design, graph, session loop, checkpoints, results
baseline    repeated runs on many splits, their statistics and tables
assessment  evaluation of trained runs from their checkpoints
acquisition active learning: which rows to label next
"""
