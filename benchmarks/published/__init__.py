"""Repeats the papers' experiments on CIFAR-10 at a length of one's choice: python -m benchmarks.published --help

    numbers.csv  the published numbers, and where they stand
    plan         tables, variants and methods -> the settings of every run; one rule for all schedules
    worker       trains and evaluates one run, in a process of its own
    runner       starts these processes, displays how far they are, and stops them
    toy          random images for --quick
    report       rows of finished runs, averages, differences and the published numbers, as Markdown and CSV
    figures      accuracy and log-likelihood against the epoch and against the strength of corruptions
"""
