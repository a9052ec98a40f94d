"""Exports of trained posteriors: what export.py writes. Read in this order:

frozen       K draws of the weights and of the noise, the network's operations, and how inputs are made, as arrays
portable     the .npz file of portable/predictor.py
onnx_graph   the same as an ONNX model
saved_model  a SavedModel of TensorFlow that draws weights itself
"""
