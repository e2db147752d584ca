"""Jobs: create, follow, cancel, run again."""

from collections.abc import Callable, Sequence
from typing import Any, Generic

from pydantic import BaseModel, ConfigDict, PrivateAttr

from modelpress import resources
from modelpress.client.artifacts import JobArtifacts
from modelpress.client.effects import Bound, Driver, Emit, Items, Mode, Op, Tell, iteration, operation
from modelpress.client.errors import JobCancelled, JobFailed
from modelpress.client.following import Following
from modelpress.client.resource import Resource
from modelpress.client.transport import Transport, segment
from modelpress.progress import Bar, Bars
from modelpress.resources import Dataset, Estimate, Event, JobRequest, Model
from modelpress.steps import Step
from modelpress.validation import parse_request

Recipe = str | Sequence[Step | dict[str, Any]]


class Job(resources.Job, Bound[Mode], Generic[Mode]):
    """A job, with what can be done with it. Waiting, refreshing and cancelling bring its fields up to date."""

    model_config = ConfigDict(ignored_types=(operation, iteration))
    _transport: Transport = PrivateAttr()
    _driver: Driver = PrivateAttr()
    _bars: Bars = PrivateAttr()

    @property
    def artifacts(self) -> JobArtifacts[Mode]:
        """What it made."""
        return JobArtifacts(self._transport, self._driver, self._bars, self.id)

    @operation
    def wait(
        self,
        timeout: float | None = None,
        on_event: Callable[[Event], Any] | None = None,
        raise_on_failure: bool = True,
    ) -> "Op[Job[Mode]]":
        """Wait until it is finished, with a progress bar where a person watches; answers the job itself.

        Args:
            timeout: seconds; left out means as long as it takes.
            on_event: called with each event from the first on; a coroutine function too, on the asynchronous side.
            raise_on_failure: whether a failed or cancelled job raises.

        Raises:
            JobFailed: with the code, detail and hint of the job's own problem.
            JobCancelled: somebody cancelled it.
            WaitTimeout: the job is not finished yet, and goes on.
        """
        with self._bars.fraction(self.name or self.id) as bar:

            def deliver(event: Event) -> Op[None]:
                _show(event, bar)
                if on_event is not None:
                    yield Tell(on_event, event)

            done = yield from Following(self._transport, self.id, timeout=timeout).to_the_end(deliver)
        self._become(done)
        if raise_on_failure and self.state == "cancelled":
            raise JobCancelled(self.id)
        if raise_on_failure and self.state != "succeeded":
            raise JobFailed(self.id, self.error)
        return self

    @iteration
    def stream(self, after: int = 0) -> Items[Event]:
        """Events after number `after`, as they come, until the job is finished."""

        def deliver(event: Event) -> Items[Event]:
            yield Emit(event)

        self._become((yield from Following(self._transport, self.id, after=after).to_the_end(deliver)))

    @operation
    def refresh(self) -> "Op[Job[Mode]]":
        """Ask how it stands."""
        return (yield from self._update("GET", ""))

    @operation
    def cancel(self) -> "Op[Job[Mode]]":
        """Stop it; harmless where it is finished. Cancelling takes a moment: `wait` for its end."""
        return (yield from self._update("POST", "/cancel"))

    @operation
    def rerun(self) -> "Op[Job[Mode]]":
        """A new job that asks for the same."""
        url = f"/v1/jobs/{segment(self.id)}/rerun"
        again = yield from self._transport.read(Job, "POST", url, creates=True)
        return bind(again, self._transport, self._driver, self._bars)

    @operation
    def logs(self) -> Op[str]:
        """What it wrote so far."""
        response = yield from self._transport.call("GET", f"/v1/jobs/{segment(self.id)}/logs")
        return response.text

    def _update(self, method: str, path: str) -> "Op[Job[Mode]]":
        now = yield from self._transport.read(resources.Job, method, f"/v1/jobs/{segment(self.id)}{path}")
        self._become(now)
        return self

    def _become(self, other: resources.Job) -> None:
        for name in resources.Job.model_fields:
            setattr(self, name, getattr(other, name))


def bind(job: Job[Any], transport: Transport, driver: Driver, bars: Bars) -> Any:
    """Give a job that was just read what its methods need."""
    job._transport, job._driver, job._bars = transport, driver, bars
    return job


def _show(event: Event, bar: Bar) -> None:
    if event.type == "progress":
        words = (str(event.data.get(key) or "") for key in ("phase", "message"))
        bar.update(float(event.data.get("fraction") or 0.0), ": ".join(filter(None, words)))


class Jobs(Resource[Mode]):
    """What is asked of models."""

    @operation
    def create(self, model: str | Model, recipe: Recipe, *, name: str | None = None, **options: Any) -> Op[Job[Mode]]:
        """Queue a job.

        Args:
            model: a model or its id.
            recipe: steps, as step classes or plain data, or the name of a built-in recipe.
            name: for people.
            options: the other fields of `modelpress.resources.JobRequest`: `task`, `data` (or simply `train` and
                `eval`, data sets or their ids), `target`, `budget`, `measuring`, `seed`, `device`, `priority`, `tags`.

        Raises:
            RequestInvalid: a field is wrong, the steps are out of order, or the recipe does not fit the model.
        """
        body = _asked(model, recipe, name, options)
        job = yield from self._transport.read(Job, "POST", "/v1/jobs", json=body, creates=True)
        return bind(job, self._transport, self._driver, self._bars)

    @operation
    def estimate(self, model: str | Model, recipe: Recipe, *, name: str | None = None, **options: Any) -> Op[Estimate]:
        """Check a request as `create` would, and say what to expect; nothing is created."""
        body = _asked(model, recipe, name, options)
        return (yield from self._read(Estimate, "POST", "/v1/jobs", json=body, params={"dry_run": "true"}))

    @operation
    def get(self, job_id: str) -> Op[Job[Mode]]:
        """One job, with its result once it succeeded."""
        job = yield from self._transport.read(Job, "GET", f"/v1/jobs/{segment(job_id)}")
        return bind(job, self._transport, self._driver, self._bars)

    @iteration
    def list(self, *, state: str | None = None) -> Items[Job[Mode]]:
        """Jobs, newest first; `state` chooses."""
        yield from self._all(Job, "/v1/jobs", {"state": state}, self._bound)

    def _bound(self, job: Job[Any]) -> Job[Mode]:
        return bind(job, self._transport, self._driver, self._bars)


def _asked(model: str | Model, recipe: Recipe, name: str | None, options: dict[str, Any]) -> dict[str, Any]:
    """Body of a job request, checked here first."""
    data = options.pop("data", None) or {}
    data = data.model_dump() if isinstance(data, BaseModel) else dict(data)
    data |= {role: _id(options.pop(role)) for role in ("train", "eval") if options.get(role) is not None}
    options = {key: value for key, value in options.items() if value is not None}
    steps = recipe if isinstance(recipe, str) else [_plain(step) for step in recipe]
    fields = {**options, "model_id": _id(model), "recipe": steps, "name": name, "data": data}
    return parse_request(JobRequest, fields).model_dump(mode="json", exclude_none=True)


def _id(thing: str | Model | Dataset) -> str:
    return thing if isinstance(thing, str) else thing.id


def _plain(step: Step | dict[str, Any]) -> dict[str, Any]:
    return step.model_dump(mode="json", exclude_none=True) if isinstance(step, Step) else step
