"""What every group of operations has: the transport, a driver, progress bars."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from modelpress.client.effects import Bound, Driver, Emit, Items, Mode, Op, sleep
from modelpress.client.transport import Transport, segment
from modelpress.progress import Bars
from modelpress.resources import Dataset, Model, Page, Upload

T = TypeVar("T", bound=BaseModel)
PAGE = 100
"""Items asked for at a time; the most the service gives."""
S = TypeVar("S", Upload, Model, Dataset)


class Resource(Bound[Mode], Generic[Mode]):
    """Operations on one kind of thing."""

    def __init__(self, transport: Transport, driver: Driver, bars: Bars) -> None:
        self._transport = transport
        self._driver = driver
        self._bars = bars

    def _all(
        self,
        model: type[T],
        path: str,
        filters: dict[str, Any] | None = None,
        finish: Callable[[T], T] = lambda item: item,
    ) -> Items[T]:
        """Every item of a list, newest first, page by page."""
        cursor: str | None = None
        while True:
            params = {**(filters or {}), "cursor": cursor, "limit": PAGE}
            page: Page[T] = yield from self._transport.read(Page[model], "GET", path, params=params)
            for item in page.data:
                yield Emit(finish(item))
            cursor = page.next_cursor
            if not page.has_more or not cursor:
                return

    def _read(self, model: type[T], method: str, path: str, **options: Any) -> Op[T]:
        return (yield from self._transport.read(model, method, path, **options))

    def _settled(self, item: S, path: str, *, busy: str) -> Op[S]:
        """The item once its state is no longer `busy`, looked at ever less often."""
        pause = 0.05
        while item.state == busy:
            yield from sleep(pause)
            pause = min(2.0, pause * 1.5)
            item = yield from self._read(type(item), "GET", f"{path}/{segment(item.id)}")
        return item
