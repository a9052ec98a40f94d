"""Active learning: which rows of a pool to label next. What active_learning.py does. Read in this order:

maths       strategies (scores of rows, by the predictive distribution) -> choosing
one repeat  rows (labelled, pool, test) -> learning (a network on the labelled rows) -> trajectory (step by step)
stages      options -> planning -> progress -> summary, figure -> run
"""
