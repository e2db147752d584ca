"""Exit codes of `python -P -m core JOB_DIR`."""

RESULT = 0
"""`result.json` holds the Result."""
PROBLEM = 1
"""`result.json` holds the Problem that the job ended with."""
USAGE = 64
"""The command line names no job folder (EX_USAGE)."""
BAD_JOB = 65
"""`job.json` is missing or is no job that this version knows; `result.json` says what is wrong with it (EX_DATAERR)."""
OUT_OF_MEMORY = 71
"""Memory ran out; `result.json` holds the Problem if there was enough left to write it (EX_OSERR)."""
UNWRITABLE = 73
"""The job folder can't be written; nothing was (EX_CANTCREAT)."""
STOPPED = 75
"""SIGTERM came, or whoever started us went away: go on from the checkpoints (EX_TEMPFAIL)."""
