"""Foundations: settings, folders, logging, summaries. Imports nothing of the other packages."""
