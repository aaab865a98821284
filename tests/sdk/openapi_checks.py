"""Checks of our own for schemathesis, which loads this by its name in SCHEMATHESIS_HOOKS."""

import schemathesis

DEADLINE = "x-llm-router-timeout-ms"


@schemathesis.check
def no_server_error(_context, response, case):
    """As schemathesis's own, but who gives the router some milliseconds may be told that they were too few."""
    is_own_deadline = response.status_code == 504 and any(name.lower() == DEADLINE for name in case.headers or {})
    assert response.status_code < 500 or is_own_deadline, f"status {response.status_code}"


@schemathesis.check
def success_is_described(_context, response, case):
    """Every operation describes its errors at once; what went well has to stand there by its number."""
    if case.method.upper() == "OPTIONS":
        return  # What browsers ask before they ask; no description has it.
    described = case.operation.definition.raw["responses"]
    assert response.status_code >= 400 or str(response.status_code) in described, f"{response.status_code} is not described"
