"""Settings files for `jobs/eval.py --config`: the demo, and in `paper/` the cells of the paper's tables."""
