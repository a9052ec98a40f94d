"""One training run, from its config to its results. Read in this order:

schedule (which updates are due when), linearised and evaluation (predictions), wording, tasks (all that depends on the
mode), design (everything known before the graph), initial, inputs and graph (TensorFlow), stepper (feeds the graph),
checkpoints, warm_start (from another run), recovery (failed steps), reporter (curves), trainer (the session loop),
lengthening (of a run), refreshes (periods of a resumed run), run (config to result).
cost and explain estimate and describe a run without building it.
"""
