"""Problems: what went wrong, where, and what to do, in RFC 9457's shape.

Every error of ModelPress is a `ProblemError`; the class knows its code, HTTP status and category, so that
one handler renders problem+json in the API, `result.json` in a job folder, and the message on the command line.
"""

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Category = Literal["user", "model", "unsupported", "accuracy", "resource", "timeout", "infra", "cancelled"]


class FieldProblem(BaseModel):
    """One wrong field of a request."""

    pointer: str = Field(description="JSON pointer to the field, such as `/recipe/0/ratio`.")
    code: str = Field(description="Stable code of what is wrong with it.")
    detail: str = Field(description="What was expected and what came.")


class Problem(BaseModel):
    """An error as it travels: RFC 9457 problem details with a stable code and a hint."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(default="about:blank", description="Address of the documentation of this code.")
    title: str = Field(description="The kind of problem in a few words; the same for every occurrence of the code.")
    status: int = Field(description="HTTP status.")
    code: str = Field(description="Stable code to branch on.")
    detail: str = Field(default="", description="What is wrong here, and where.")
    hint: str = Field(default="", description="What to do about it; empty if nothing useful can be said.")
    category: str = Field(default="user", description="Who or what is to blame: " + ", ".join(Category.__args__) + ".")
    retryable: bool = Field(default=False, description="Whether the same request may succeed later.")
    instance: str | None = Field(default=None, description="Path of the request.")
    request_id: str | None = Field(default=None, description="Quote it when you ask for help.")
    errors: list[FieldProblem] = Field(default_factory=list, description="The wrong fields, one by one.")


class ProblemError(Exception):
    """Root of the tree: raise a subclass with what is wrong and what to do."""

    code: str = "internal"
    title: str = "Something went wrong on our side"
    status: int = 500
    category: Category | str = "infra"
    retryable: bool = False
    request_id: str | None = None

    def __init__(self, detail: str = "", *, hint: str = "", errors: list[FieldProblem] | None = None) -> None:
        super().__init__(detail or self.title)
        self.detail = detail
        self.hint = hint
        self.errors = errors or []

    def problem(self, **extra: Any) -> Problem:
        """The error as it travels; `extra` wins over what the error knows."""
        fields: dict[str, Any] = {"request_id": self.request_id, **extra}
        return Problem(
            title=self.title,
            status=self.status,
            code=self.code,
            detail=self.detail,
            hint=self.hint,
            category=self.category,
            retryable=self.retryable,
            errors=self.errors,
            **fields,
        )


class RequestInvalid(ProblemError):
    code, title, status, category = "request_invalid", "The request has wrong fields", 422, "user"


class JsonInvalid(ProblemError):
    code, title, status, category = "json_invalid", "The body is not JSON", 400, "user"


class MediaTypeUnsupported(ProblemError):
    code, title, status, category = (
        "unsupported_media_type",
        "This address does not take this kind of content",
        415,
        "user",
    )


class RecipeInvalid(RequestInvalid):
    code, title = "recipe_invalid", "The recipe can't be run as written"


class NotFound(ProblemError):
    code, title, status, category = "not_found", "There is no such thing in this project", 404, "user"


class Conflict(ProblemError):
    code, title, status, category = "conflict", "Its state does not allow this", 409, "user"


class FileUnreadable(ProblemError):
    """A file on the user's own machine."""

    code, title, status, category = "file_unreadable", "The file can't be read", 422, "user"


class Unauthorised(ProblemError):
    code, title, status, category = "unauthorised", "A valid API key is needed", 401, "user"


class Forbidden(ProblemError):
    code, title, status, category = "forbidden", "This key may not do that", 403, "user"


class ModelError(ProblemError):
    """The model file is the cause."""

    code, title, status, category = "model_invalid", "The model can't be used", 422, "model"


class ModelNotOnnx(ModelError):
    code, title = "model_not_onnx", "The file is not an ONNX model"


class ModelTruncated(ModelError):
    code, title = "model_truncated", "The model file is incomplete"


class ModelCycle(ModelError):
    code, title = "model_cycle", "The model's graph has a cycle"


class ModelExternalData(ModelError):
    code, title = "model_external_data", "The model's external data can't be used"


class ModelTooLarge(ModelError):
    code, title, category = "model_too_large", "The model declares more data than it may", "resource"


class ModelNotFinite(ModelError):
    code, title = "model_not_finite", "The model's weights hold NaN or infinity"


class CheckpointInvalid(ModelError):
    code, title = "checkpoint_invalid", "The checkpoint can't be read"


class CheckpointMismatch(ModelError):
    code, title = "checkpoint_mismatch", "The checkpoint's tensors are not those of the architecture"


class ArchitectureInvalid(ModelError):
    code, title = "architecture_invalid", "Which network the checkpoint belongs to is not known"


class DataError(ProblemError):
    """The data set is the cause."""

    code, title, status, category = "data_invalid", "The data set can't be used", 422, "user"


class DataUnsafe(DataError):
    code, title = "data_unsafe", "The data set holds something that is never opened"


class DataTooLarge(DataError):
    code, title, category = "data_too_large", "The data set expands to more than it may", "resource"


class DataEmpty(DataError):
    code, title = "data_empty", "The data set is empty"


class DataMismatch(DataError):
    code, title = "data_mismatch", "The data do not fit the model"


class StepError(ProblemError):
    """A step can't do what it was asked on this network."""

    code, title, status, category = "step_failed", "A step of the recipe failed", 422, "user"


class UnsoundError(ProblemError):
    """A step left a network that is not sound: not finite, another interface, or unequal to its export."""

    code, title, status, category = "step_unsound", "A step left a network that can't be shipped", 422, "model"


class OutOfMemory(ProblemError):
    code, title, status, category = "out_of_memory", "The job needed more memory than it may use", 422, "resource"


class OutOfTime(ProblemError):
    code, title, status, category = "out_of_time", "The job ran out of time", 422, "timeout"


class Unavailable(ProblemError):
    code, title, status, category, retryable = "unavailable", "Not available right now", 503, "infra", True


def error_of(problem: Problem) -> ProblemError:
    """The exception for a problem that came from elsewhere: by its code, else by its status, else the root.

    What the problem says wins over what the class says, so that nothing a newer server knows is lost.
    """
    classes = list(_subclasses(ProblemError))
    by_code = [cls for cls in classes if cls.code == problem.code]
    general = (RequestInvalid, NotFound, Conflict, Unauthorised, Forbidden, Unavailable)
    by_status = [cls for cls in general if cls.status == problem.status]
    cls = (by_code + by_status + [ProblemError])[0]
    error = ProblemError.__new__(cls)
    ProblemError.__init__(error, problem.detail, hint=problem.hint, errors=problem.errors)
    error.code, error.title, error.status = problem.code, problem.title, problem.status
    error.category, error.retryable, error.request_id = problem.category, problem.retryable, problem.request_id
    return error


def _subclasses(root: type[ProblemError]) -> Iterator[type[ProblemError]]:
    for cls in root.__subclasses__():
        yield cls
        yield from _subclasses(cls)
