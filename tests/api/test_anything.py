"""Whatever the OpenAPI document allows, and some of what it forbids, is answered without a fault of ours."""

from hypothesis import HealthCheck, given, settings
from schemathesis import Case, openapi

from modelpress.problem import Problem
from tests.workplace import Service


def test_no_request_at_all_brings_out_a_fault_of_ours(sqlite_service: Service):
    schema = openapi.from_url(f"{sqlite_service.url}/openapi.json")
    headers = {"Authorization": f"Bearer {sqlite_service.key}"}
    tried: set[str] = set()

    @settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(case=schema.as_strategy())
    def attempt(case: Case) -> None:
        answer = case.call(headers=headers)
        tried.add(f"{case.method} {case.path}")
        assert answer.status_code < 500, (case.method, case.path, case.body, answer.text)
        if answer.status_code >= 400:
            assert answer.headers["content-type"] == ["application/problem+json"]
            assert Problem.model_validate_json(answer.content or b"").status == answer.status_code

    attempt()
    assert len(tried) > 10
