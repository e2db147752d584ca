import pytest

from modelpress.problem import (
    Category,
    FieldProblem,
    ModelTruncated,
    NotFound,
    Problem,
    ProblemError,
    RequestInvalid,
    error_of,
)
from modelpress.problem import _subclasses as subclasses

IN_CONTRACT = [cls for cls in subclasses(ProblemError) if cls.__module__ == "modelpress.problem"]


@pytest.mark.parametrize("cls", IN_CONTRACT, ids=lambda cls: cls.__name__)
def test_every_error_comes_back_from_the_wire_as_itself(cls: type[ProblemError]):
    sent = cls("what", hint="do this", errors=[FieldProblem(pointer="/a", code="b", detail="c")])
    problem = Problem.model_validate_json(sent.problem(request_id="req_1").model_dump_json())
    came = error_of(problem)
    assert type(came) is cls
    assert came.problem() == problem
    assert str(came) == "what"


def test_codes_are_unique_and_categories_known():
    codes = [cls.code for cls in IN_CONTRACT]
    assert len(set(codes)) == len(codes)
    assert {cls.category for cls in IN_CONTRACT} <= set(Category.__args__)


@pytest.mark.parametrize("status, cls", [(404, NotFound), (422, RequestInvalid), (418, ProblemError)])
def test_an_unknown_code_is_judged_by_its_status_and_keeps_its_own_words(status: int, cls: type[ProblemError]):
    error = error_of(
        Problem(title="New", status=status, code="brand_new", detail="d", category="newer", retryable=True)
    )
    assert type(error) is cls
    assert (error.code, error.title, error.status, error.category) == ("brand_new", "New", status, "newer")
    assert error.retryable
    assert cls.code != "brand_new"


def test_an_error_without_detail_says_its_title():
    assert str(ModelTruncated()) == "The model file is incomplete"


def test_problems_keep_what_a_newer_service_adds():
    assert (
        Problem.model_validate({"title": "t", "status": 400, "code": "c", "see": "there"}).model_dump()["see"]
        == "there"
    )
