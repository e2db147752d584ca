"""What `inspect` shows: the whole, a row a layer with its share of everything, what locks filters, the operators."""

from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from modelpress.cli.tables import console, number, plain_table
from modelpress.inspection import Inspection, LayerInfo

Cell = Callable[[LayerInfo, Inspection], str]

ALWAYS = 9
GAP = 3  # characters between columns


@dataclass(frozen=True)
class Column:
    """
    Attributes:
        keep: how much it would be missed; where there is no room, what is missed least goes first.
        total: what stands in the last row.
        most: characters that it asks for; longer cells are folded or cut.
    """

    heading: str
    keep: int
    cell: Cell
    total: Callable[[Inspection], str] = lambda whole: ""
    is_number: bool = True
    most: int = 40


def show_inspection(inspection: Inspection, name: str, to: Console = console) -> None:
    to.print(
        f"[bold]{escape(name)}[/]: {number(inspection.parameters)} parameters, {number(inspection.macs)} MACs "
        f"a sample, {number(inspection.bytes)} bytes, opset {inspection.opset}"
    )
    for kind, tensors in (("input", inspection.inputs), ("output", inspection.outputs)):
        for tensor in tensors:
            free = any(not isinstance(size, int) for size in tensor.shape)
            told = (
                f", counted on \\[{_sizes(counted)}]" if free and (counted := _counted(inspection, tensor.name)) else ""
            )
            shape = ", ".join("?" if size is None else str(size) for size in tensor.shape)
            to.print(f"  {kind} {escape(tensor.name)}: {tensor.type} \\[{escape(shape)}]{told}")
    to.print(layers_table(inspection, to.width))
    for line in channels(inspection):
        to.print(f"  {escape(line)}")
    to.print(operators_table(inspection))
    for note in inspection.notes:
        to.print(f"  note: {escape(note)}")


def layers_table(inspection: Inspection, width: int) -> Table:
    """A row for everything that holds parameters or multiplies; columns as far as the terminal is wide."""
    rows = [*inspection.layers, *inspection.others]
    columns = fitting(inspection, rows, width)
    headings = [column.heading for column in columns]
    numbers = [column.heading for column in columns if column.is_number]
    table = plain_table(*headings, whole=[*numbers, "type", "weight", "output"], numbers=numbers)
    if "note" in headings:
        note = table.columns[-1]
        note.no_wrap, note.overflow = True, "ellipsis"
        note.max_width = width - GAP - sum(_room(column, inspection, rows) + GAP for column in columns[:-1])
    for row in rows:
        table.add_row(*(escape(column.cell(row, inspection)) for column in columns))
    table.add_section()
    table.add_row(*(escape(column.total(inspection)) for column in columns), style="bold")
    return table


def fitting(inspection: Inspection, rows: list[LayerInfo], width: int) -> list[Column]:
    """The columns without those that would be missed least, until the rest has room."""
    columns = list(COLUMNS)
    needs = {id(column): _room(column, inspection, rows) + GAP for column in columns}
    for column in sorted(COLUMNS, key=lambda column: column.keep):
        if sum(needs[id(kept)] for kept in columns) <= width or column.keep == ALWAYS:
            break
        columns.remove(column)
    return columns


def _room(column: Column, inspection: Inspection, rows: list[LayerInfo]) -> int:
    cells = [column.heading, column.total(inspection), *(column.cell(row, inspection) for row in rows)]
    return min(max(map(len, cells)), column.most)


def operators_table(inspection: Inspection) -> Table:
    table = plain_table("operator", "nodes", "runs", numbers=("nodes",), whole=("operator", "runs"))
    for name, found in inspection.operators.items():
        table.add_row(escape(name), str(found.count), "native" if found.native else "opaque: in onnxruntime, untouched")
    return table


def channels(inspection: Inspection) -> list[str]:
    """How much can be pruned, and what keeps the rest."""
    lines = []
    if inspection.peak_activation_bytes is not None:
        lines.append(f"activations: {number(inspection.peak_activation_bytes)} bytes at once for one sample")
    if inspection.filters and inspection.prunable is not None:
        share = inspection.prunable / inspection.filters
        lines.append(
            f"filters that can be pruned: {number(inspection.prunable)} of {number(inspection.filters)}, {share:.1%}"
        )
        lines += [f"  {number(count)} can't: {reason}" for reason, count in inspection.locks.items()]
    return lines


def _counted(inspection: Inspection, name: str) -> list[int]:
    return inspection.counted_on.get(name, [])


def _sizes(shape: list[int] | None) -> str:
    return "x".join(map(str, shape or []))


def _share(part: int | None, whole: int | None) -> str:
    return f"{100 * part / whole:.1f}" if whole and part is not None else ""


def _prunable(layer: LayerInfo) -> str:
    return "" if layer.prunable is None else f"{layer.prunable}/{layer.out_channels}"


def _note(layer: LayerInfo) -> str:
    return "frozen: no gradient reaches it" if layer.frozen else layer.locked or ""


COLUMNS = (
    Column("layer", ALWAYS, lambda row, _: row.name, lambda _: "total", is_number=False, most=30),
    Column("type", ALWAYS, lambda row, _: row.type, is_number=False),
    Column("weight", 4, lambda row, _: _sizes(row.weight_shape), is_number=False),
    Column("output", 1, lambda row, _: _sizes(row.output_shape), is_number=False),
    Column("parameters", ALWAYS, lambda row, _: number(row.parameters), lambda whole: number(whole.parameters)),
    Column("%", 7, lambda row, whole: _share(row.parameters, whole.parameters)),
    Column("MACs", ALWAYS, lambda row, _: number(row.macs), lambda whole: number(whole.macs)),
    Column("%", 6, lambda row, whole: _share(row.macs, whole.macs)),
    Column("bytes", 2, lambda row, _: number(row.bytes), lambda whole: number(whole.weight_bytes)),
    Column("%", 0, lambda row, whole: _share(row.bytes, whole.weight_bytes)),
    Column("activations", 2, lambda row, _: number(row.activation_bytes)),
    Column("prunable", 5, lambda row, _: _prunable(row), lambda w: f"{w.prunable}/{w.filters}" if w.filters else ""),
    Column("note", 3, lambda row, _: _note(row), is_number=False, most=24),
)
