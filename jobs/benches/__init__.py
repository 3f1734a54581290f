"""The subcommands of jobs/bench.py, a module each: `main(argv, result)` runs one and returns the exit code.

engine     our engine beside plain transformers: methods (plain, plain_continuous) and parts (engine_probe)
handover   memory from actor to actor: nodes, parcels and overlap
gpu        the engine on a GPU beside what the GPU can do: gpu_settings, gpu_model, gpu_parts and shapes
scale      the driver and the store with timed stand-ins for models: cases, stages, timing and stand

command and rounds are what they share: settings, tables, and measuring several ways in turn.
"""
