"""Metrics of predictions: arrays in, floats out."""
