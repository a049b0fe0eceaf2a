"""The command line: parsing, printing, exit codes. Everything it does, onnxprune.api does.

Nothing heavy is imported before a command runs, so that `--help` and completion answer at once.
"""
