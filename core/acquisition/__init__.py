"""Active learning: which rows of a pool to label next. What active_learning.py does. Read in this order:

maths       strategies (scores of rows, by their predictive distribution, and the choice of the highest)
one repeat  rows (labelled, pool, test) -> learning (a network on the labelled rows) -> trajectory (step by step)
processes   job (one repeat in a process of its own) -> progress
stages      options -> planning -> summary, figure -> run
"""
