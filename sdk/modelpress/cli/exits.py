"""Exit codes, one a category of problem."""

SUCCESS = 0
BUG = 1
USAGE = 2
INTERRUPTED = 130

BY_CATEGORY = {
    "user": USAGE,
    "model": 3,
    "unsupported": 4,
    "resource": 5,
    "timeout": 6,
    "infra": 7,
    "cancelled": 8,
    "accuracy": 9,
}

DESCRIPTION = """Exit codes: 0 done; 1 a bug of ours; 2 a wrong command line, request, recipe, data set or key;
3 the model can't be used, or a step would have spoilt it; 4 not supported or not installed here; 5 out of memory or
too large; 6 out of time; 7 the service or the machine failed or can't be reached; 8 cancelled; 9 less accurate than
allowed; 130 interrupted."""
