"""Evaluation of trained runs: what evaluate.py does. Read in this order:

restore       a run, read back from its folder
inputs        what it is evaluated on (test rows, OOD rows, corrupted images, a line of inputs), and draws for it
results       from draws to metrics, predictions and the data of the figures
weight_noise  the posterior itself: noise and effective parameters per layer, precision matrices
evaluated     one run, or an ensemble of runs, evaluated
correlations  correlations between rows, of runs and beside a reference
figures       the figures, from those data
tables        what is printed
output        what is written
assess        all of it for several runs

calibration_file  what a run was calibrated by after its training, in its folder
calibrated        calibrated predictions, and metrics before and after
calibrating       evaluate.py --calibrate
"""
