"""The subcommands of jobs/bench.py, a module each: `main(argv, result)` runs one and returns the exit code.

handover   memory from actor to actor: nodes, parcels and overlap
scale      the driver and the store with timed stand-ins for models: stages, timing and scale
"""
