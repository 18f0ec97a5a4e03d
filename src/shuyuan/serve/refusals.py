"""The API's own form of an error, for everything that can go wrong."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Literal

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from shuyuan.base.errors import Fixable

KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    409: "conflict_error",
    413: "request_too_large",
    415: "invalid_request_error",
    421: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
    503: "overloaded_error",
}


class Wrong(BaseModel):
    """What went wrong: in `message`; what to do about it: in `hint`."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None
    hint: str = ""


class ErrorBody(BaseModel):
    """The form of every error."""

    error: Wrong


class OllamaError(BaseModel):
    """The form that Ollama's clients read."""

    error: str


class AnthropicWrong(BaseModel):
    """What went wrong."""

    type: str
    message: str


class AnthropicError(BaseModel):
    """The form that Anthropic's clients read."""

    type: Literal["error"] = "error"
    error: AnthropicWrong


class Refused(Exception):  # noqa: N818  (it is an answer)
    """A request that is not done, with its status; the sender can put it right."""

    def __init__(
        self, status: int, what: str, hint: str = "", *, code: str = "", param: str | None = None, wait: float = 0
    ) -> None:
        super().__init__(what)
        self.status, self.what, self.hint, self.code, self.param, self.wait = status, what, hint, code, param, wait


def stopping() -> Refused:
    """What the reader of an answer hears when the server is stopped before it has ended."""
    return Refused(503, "the server is being stopped, and this answer is cut", "ask again in a moment", wait=5)


_MEANT = {
    400: "It cannot be done as asked",
    401: "A key is needed",
    403: "This key may not do it",
    404: "It is not here",
    409: "It is in the way of something else",
    413: "Too large",
    415: "The body is not of the type that is needed",
    422: "A value is missing or out of bounds",
    429: "Too much at once; Retry-After says when to come back",
    503: "The server is being stopped; Retry-After says when to come back",
}


def described(form: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """What any endpoint may answer beside what it is for, as its OpenAPI description has it."""
    return {status: {"model": form, "description": words} for status, words in _MEANT.items()}


def body(status: int, message: str, *, param: str | None = None, code: str | None = None, hint: str = "") -> Any:
    """An error as JSON. Half characters, which no answer can hold, are replaced."""
    message, hint = (said.encode(errors="replace").decode() for said in (message, hint))
    param = param and param.encode(errors="replace").decode()
    wrong = Wrong(message=message, type=KINDS.get(status, "server_error"), param=param, code=code or None, hint=hint)
    return ErrorBody(error=wrong).model_dump()


def in_form_of(path: str, status: int, content: Any) -> Any:
    """The error as clients of this address read it: Anthropic's and Ollama's have forms of their own."""
    wrong = content["error"]
    if path.startswith("/v1/messages"):
        return {"type": "error", "error": {"type": wrong["type"], "message": wrong["message"]}}
    if path in OLLAMA:
        return {"error": wrong["message"]}
    return content


OLLAMA = ("/api/chat", "/api/generate", "/api/tags", "/api/show", "/api/embed", "/api/version")


def response(request: Request, status: int, content: Any, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The error as this request's answer."""
    return JSONResponse(in_form_of(request.url.path, status, content), status, dict(headers or {}))


def of_fixable(error: Fixable) -> tuple[int, Any]:
    """Status and body of something the person can put right."""
    missing = error.what.startswith(("there is no ", "no exam was sat"))
    busy = "is in use by" in error.what
    status = 404 if missing else 409 if busy else 400
    said = error.what.partition("\n")[0] if len(error.what) > 2000 else error.what
    return status, body(status, said, hint=error.hint, code="not_found" if missing else None)


def handle_errors(app: FastAPI) -> None:
    """Give every error of an app the API's form."""

    @app.exception_handler(Refused)
    def refused(request: Request, error: Refused) -> JSONResponse:
        headers = {"WWW-Authenticate": "Bearer"} if error.status == 401 else {}
        if error.wait:
            headers["Retry-After"] = str(max(1, round(error.wait)))
        content = body(error.status, error.what, param=error.param, code=error.code, hint=error.hint)
        return response(request, error.status, content, headers)

    @app.exception_handler(Fixable)
    def fixable(request: Request, error: Fixable) -> JSONResponse:
        return response(request, *of_fixable(error))

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part not in ("body", "query", "path", "header"))
        status = 400 if request.url.path.startswith("/v1/") else 422
        said = f"'{where}': {first['msg']}" if where else str(first["msg"])
        return response(request, status, body(status, said[:500], param=where[:200] or None, code="invalid_value"))

    @app.exception_handler(HTTPException)
    def plain(request: Request, error: HTTPException) -> JSONResponse:
        return response(request, error.status_code, body(error.status_code, str(error.detail)), error.headers)

    @app.exception_handler(Exception)
    def unforeseen(request: Request, error: Exception) -> JSONResponse:
        logging.getLogger("shuyuan.serve").exception("this should not have happened", exc_info=error)
        return response(request, 500, body(500, "this should not have happened; the server's log says more"))
