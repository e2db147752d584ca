"""Models: made of uploads, looked at in a closed-in process, then ready or rejected."""

from modelpress.problem import Conflict, FieldProblem, RequestInvalid
from modelpress.resources import FileRef, ModelRequest
from store import contents, jobs
from store.database import now
from store.ids import new_id
from store.problems import UploadIncomplete
from store.scope import Scope
from store.settings import Settings
from store.tables import Job, Model, ModelFile, Upload

_MOST_NAME_BYTES = 200


def create(scope: Scope, settings: Settings, request: ModelRequest) -> Model:
    """A model in state `validating`; its inspection starts as soon as all its files are verified."""
    files = _files(request)
    uploads = [usable_upload(scope, file.upload_id, f"/files/{i}/upload_id") for i, file in enumerate(files)]
    session = scope.session
    model = Model(
        id=new_id("mdl"),
        project_id=scope.project.id,
        name=request.name,
        state="validating",
        tags=request.tags,
        created_at=now(session),
    )
    session.add(model)
    session.flush()
    rows = [
        ModelFile(
            model_id=model.id,
            position=position,
            path=file.path,
            upload_id=upload.id,
            sha256=upload.sha256,
            size_bytes=upload.size_bytes,
        )
        for position, (file, upload) in enumerate(zip(files, uploads, strict=True))
    ]
    session.add_all(rows)
    state = "queued" if all(upload.state == "completed" for upload in uploads) else "waiting"
    jobs.create_service_job(session, settings, "inspect", scope.project.id, state=state, inputs=rows, model_id=model.id)
    return model


def usable_upload(scope: Scope, upload_id: str, pointer: str) -> Upload:
    """An upload that holds a file or is being verified. Raises NotFound or a Conflict."""
    upload = scope.get(Upload, upload_id, share=True)
    if upload.state == "pending":
        raise UploadIncomplete(
            f"{upload.id} is not completed", hint=f"Send its parts and complete it, then use it ({pointer})."
        )
    if upload.state not in ("verifying", "completed"):
        raise Conflict(f"{upload.id} is {upload.state} and holds no file", hint="Upload the file again.")
    if upload.state == "completed" and contents.find(scope.session, scope.project.id, upload.sha256) is None:
        raise Conflict(f"the bytes of {upload.id} were deleted as nothing used them", hint="Upload the file again.")
    return upload


def delete(scope: Scope, model_id: str) -> None:
    """Hide a model. Jobs that run go on; jobs that still wait for it are over."""
    model = scope.get(Model, model_id, lock=True)
    model.deleted_at = now(scope.session)
    scope.session.flush()
    waiting = scope.select(Job, Job.model_id == model.id, Job.state == "waiting")
    for job in scope.session.scalars(waiting.order_by(Job.kind)).all():  # the inspection last: its end ends the others
        jobs.cancel(scope, job.id)


def _files(request: ModelRequest) -> list[FileRef]:
    if (request.upload_id is None) == (not request.files):
        raise _wrong("/upload_id", "one_of", "give `upload_id` for a single file, or `files` for several")
    if request.upload_id is not None:
        return [FileRef(path="model.onnx", upload_id=request.upload_id)]
    seen: set[str] = set()
    for index, file in enumerate(request.files):
        if file.path.startswith(".") or len(file.path.encode()) > _MOST_NAME_BYTES or not file.path.isprintable():
            raise _wrong(f"/files/{index}/path", "bad_name", "a plain, printable, not hidden file name is needed")
        if file.path.casefold() in seen:
            raise _wrong(f"/files/{index}/path", "twice", f"{file.path} is there already")
        seen.add(file.path.casefold())
    return request.files


def _wrong(pointer: str, code: str, detail: str) -> RequestInvalid:
    return RequestInvalid(detail, errors=[FieldProblem(pointer=pointer, code=code, detail=detail)])
