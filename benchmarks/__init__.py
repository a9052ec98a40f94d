"""Measurements that are not tests, a command each: speed, comparisons with other methods, the search for the recipe."""
