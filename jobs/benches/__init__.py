"""The subcommands of jobs/bench.py, a module each: `main(argv, result)` runs one and returns the exit code.

engine     our engine beside plain transformers: methods (plain, plain_continuous) and parts (engine_probe)
handover   memory from actor to actor: nodes, parcels and overlap
scale      the driver and the store with timed stand-ins for models: cases, stages, timing and stand

command and rounds are what they share: settings, tables, and measuring several ways in turn.
"""
