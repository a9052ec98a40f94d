"""python -m core.baseline.probe PARENT dask|ray ADDRESS: exits with 0 if a worker of that cluster can run this project.

PARENT is the process id of whoever asks; this process ends with it.
"""
import sys

from core.baseline.pool import Workers, parallel_map
from core.baseline.worker import echo
from misc.parent import live_and_die_with

if __name__ == "__main__":
    live_and_die_with(int(sys.argv[1]))
    sys.exit(parallel_map(echo, [1, 2], Workers(None, *sys.argv[2:])) != [1, 2])
