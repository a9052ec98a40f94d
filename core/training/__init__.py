"""One training run, from its config to its results. Read in this order:

schedule (which updates are due when), evaluation and wording, tasks (all that depends on the mode),
design (everything known before the graph), inputs and graph (TensorFlow), stepper (feeds the graph),
checkpoints, recovery (failed steps), reporter (curves), trainer (the session loop), run (config to result).
cost and explain estimate and describe a run without building it.
"""
