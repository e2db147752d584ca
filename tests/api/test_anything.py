"""Whatever the OpenAPI document allows, and some of what it forbids, is answered without a fault of ours."""

import httpx
from hypothesis import HealthCheck, given, settings
from schemathesis import Case, openapi

from modelpress.problem import Problem
from tests.workplace import Service


def test_no_request_at_all_brings_out_a_fault_of_ours(sqlite_service: Service):
    schema = openapi.from_url(f"{sqlite_service.url}/openapi.json")
    headers = {"Authorization": f"Bearer {sqlite_service.key}"}
    tried: set[str] = set()

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(case=schema.as_strategy())
    def attempt(case: Case) -> None:
        answer = case.call(headers=headers)
        tried.add(f"{case.method} {case.path}")
        assert answer.status_code < 500, (case.method, case.path, case.body, answer.text)
        if answer.status_code >= 400 and case.method != "HEAD":
            assert answer.headers["content-type"] == ["application/problem+json"]
            assert Problem.model_validate_json(answer.content or b"").status == answer.status_code

    attempt()
    assert len(tried) > 10


def test_the_document_tells_of_steps_problems_and_idempotency(sqlite_service: Service):
    document = httpx.get(f"{sqlite_service.url}/openapi.json", trust_env=False).json()
    schemas = document["components"]["schemas"]
    steps = schemas["JobRequest"]["properties"]["recipe"]["oneOf"][0]["items"]
    assert steps["discriminator"]["mapping"]["prune.filters"] == "#/components/schemas/FilterPruning"
    assert "description" in schemas["FilterPruning"]["properties"]["ratio"]
    assert schemas["JobRequest"]["properties"]["recipe"]["examples"]
    assert "HTTPValidationError" not in schemas
    creating = [
        item["post"] for path, item in document["paths"].items() if "201" in item.get("post", {}).get("responses", {})
    ]
    assert len(creating) == 6
    for operation in creating:
        assert "Idempotency-Key" in {parameter["name"] for parameter in operation["parameters"]}
        assert "application/problem+json" in operation["responses"]["422"]["content"]
