"""python -m core.baseline.probe dask|ray ADDRESS: exits with 0 if a worker of that cluster can import this project."""
import sys

from core.baseline.pool import run_parallel
from core.baseline.worker import answer

if __name__ == "__main__":
    sys.exit(run_parallel(answer, [1, 2], None, *sys.argv[1:]) != [1, 2])
