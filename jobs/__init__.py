"""Command lines: parse, build a config, make one call, print a table and one JSON line."""
