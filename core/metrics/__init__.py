"""Metrics of predictions: numpy arrays in, float64 out. Nothing here knows of networks or of TensorFlow.

Read in this order:

predictive        the predictive distribution of weight draws, and the metrics that every run reports
gaussian_outputs  the predictive distribution of Gaussian outputs (config's `predictive` linearised)
crps              the continuous ranked probability score of such a distribution
joint             the joint predictive distribution of several targets
correlations      correlations between rows, joint scores of batches of rows, and meta-correlations
calibration       calibration, rejection, detection of other data, and bootstrap intervals: what evaluate.py adds
conformal         temperature, conformal intervals and sets: calibration after the training
"""
