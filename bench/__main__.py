"""`python -m bench NAME [ARGUMENT ...]` runs one measurement; without a name, those that need no data of yours.

Each prints its figures and writes them to `bench/results/NAME.json`.
"""

import importlib
import sys

WITHOUT_DATA = ("network", "overhead", "upload", "formulas", "grouping", "channels")
WITH_DATA = ("resnet20", "architectures")


def main() -> None:
    names, arguments = (sys.argv[1:2], sys.argv[2:]) if len(sys.argv) > 1 else (WITHOUT_DATA, [])
    for name in names:
        if name not in (*WITHOUT_DATA, *WITH_DATA):
            sys.exit(f"there is no measurement {name!r}; there are {', '.join((*WITHOUT_DATA, *WITH_DATA))}")
        print(f"== {name}")
        importlib.import_module(f"bench.{name}").main(arguments)


if __name__ == "__main__":
    main()
