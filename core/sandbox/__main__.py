"""`python -P -m core.sandbox`: how far a process can be closed in here, as one line of JSON."""

import dataclasses
import json
import sys
import tempfile
from pathlib import Path

from core.sandbox import close_in

sys.stdout.write(json.dumps(dataclasses.asdict(close_in(Path(tempfile.gettempdir())))) + "\n")
