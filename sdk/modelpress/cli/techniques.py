"""`techniques`: the catalogue of the installed contract; no service is asked."""

import json
import re
from typing import Any

import typer
from rich.markup import escape
from rich.table import Table

from modelpress.catalogue import technique_info
from modelpress.cli.tables import console, plain_table
from modelpress.problem import NotFound
from modelpress.resources import Technique
from modelpress.steps import ALL, name_of


def show(name: str | None, as_json: bool) -> None:
    known = {name_of(cls): cls for cls in ALL}
    if name is not None and name not in known:
        raise NotFound(f"there is no technique {name!r}", hint=f"There are {', '.join(known)}.")
    infos = [technique_info(cls) for key, cls in known.items() if name in (None, key)]
    if as_json:
        plain: Any = [info.model_dump(mode="json", by_alias=True) for info in infos]
        typer.echo(json.dumps(plain if name is None else plain[0], indent=2))
    elif name is None:
        console.print(_overview(infos))
    else:
        console.print(f"[bold]{infos[0].name}[/]: {escape(infos[0].summary)}")
        console.print(_fields(infos[0]))


def _overview(infos: list[Technique]) -> Table:
    table = plain_table("technique", "family", "stage", "what it does", whole=("technique", "family", "stage"))
    for info in infos:
        first = re.split(r"\.(?: (?=[A-Z])|$)", info.summary)[0]
        table.add_row(info.name, info.family, info.stage or "as before", escape(first))
    return table


def _fields(info: Technique) -> Table:
    table = plain_table("field", "default", "range", "meaning", whole=("field",))
    for field, schema in info.schema_["properties"].items():
        if field != "technique":
            default = json.dumps(schema["default"]) if "default" in schema else ""
            table.add_row(field, escape(default), escape(_range(schema)), escape(schema.get("description", "")))
    return table


BOUNDS = {"minimum": ">= {}", "exclusiveMinimum": "> {}", "maximum": "<= {}", "exclusiveMaximum": "< {}"}


def _range(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(map(str, schema["enum"]))
    limits = next((part for part in schema.get("anyOf", []) if part.get("type") != "null"), schema)
    return ", ".join(text.format(limits[bound]) for bound, text in BOUNDS.items() if bound in limits)
