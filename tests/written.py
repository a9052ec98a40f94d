"""What a run wrote, read back: tables, the newest checkpoint, and TensorBoard's events."""
import csv

import tensorflow.compat.v1 as tf


def rows(path):
    """Returns the rows of a CSV file as dictionaries of text."""
    with open(str(path)) as handle:
        return list(csv.DictReader(handle))


def weights(folder):
    """Returns all variables of the newest checkpoint of a run's Folder, by their names."""
    reader = tf.train.load_checkpoint(str(folder.checkpoint))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def events(folder):
    """Returns {tag: [(step, value)]} of all events of a run's Folder, and its graph as "graph"."""
    by_tag = {}
    for path in sorted(folder.summary.glob("events.*")):
        for event in tf.train.summary_iterator(str(path)):
            for value in event.summary.value:
                by_tag.setdefault(value.tag, []).append((event.step, value))
            if event.graph_def:
                by_tag["graph"] = event.graph_def
    return by_tag
