"""python -m core.baseline.probe dask|ray ADDRESS: exits with 0 if a worker of that cluster can import this project."""
import sys

from core.baseline.pool import Workers, parallel_map
from core.baseline.worker import echo

if __name__ == "__main__":
    sys.exit(parallel_map(echo, [1, 2], Workers(None, *sys.argv[1:])) != [1, 2])
