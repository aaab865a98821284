"""Google's Gemini as a provider sees and speaks it."""

import base64
import json
import re

from replies import Call, Thought, pieces

PATHS = (":generateContent", ":streamGenerateContent", ":countTokens")
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,127}")
_TOP = {"contents", "systemInstruction", "tools", "toolConfig", "generationConfig", "safetySettings", "cachedContent", "labels", "serviceTier"}
# What Google takes where a history has no signature of its own.
_NO_SEAL = "skip_thought_signature_validator"


def model_of(path, body):
    return path.rsplit("/models/", 1)[-1].rsplit(":", 1)[0]


def is_stream(path, body):
    return ":streamGenerateContent" in path


def key_of(headers):
    return headers.get("x-goog-api-key")


# === What is asked ===


def check(path, body, headers, need, issued):
    """What the provider would refuse. `issued` holds the seals of every thought and call that it gave out."""
    if ":countTokens" in path:
        need(set(body) <= {"contents", "generateContentRequest"}, f"unknown names: {sorted(set(body) - {'contents'})}")
        body = body.get("generateContentRequest", body)
        need(set(body) <= _TOP | {"model"}, f"unknown names: {sorted(set(body) - _TOP)}")
    else:
        need(set(body) <= _TOP, f"unknown names: {sorted(set(body) - _TOP)}")
    body = _camel(body)
    contents = body.get("contents")
    need(isinstance(contents, list) and contents, "contents is not specified")
    _check_turns(contents, model_of(path, body), need, issued)
    names = [row["name"] for tool in body.get("tools", []) for row in tool.get("functionDeclarations", [])]
    need(all(_NAME.fullmatch(name) for name in names), f"Invalid function name: {names}")
    calling = (body.get("toolConfig") or {}).get("functionCallingConfig") or {}
    allowed = calling.get("allowedFunctionNames")
    need(not allowed or calling.get("mode") in ("ANY", "VALIDATED"), "allowed_function_names should be set only when mode is ANY")
    need(set(allowed or []) <= set(names), f"allowed_function_names names no function: {allowed}")
    need(not calling or names, "Function calling config is set without function_declarations")
    config = body.get("generationConfig") or {}
    need("responseSchema" not in config or "responseJsonSchema" not in config, "only one of responseSchema and responseJsonSchema")
    has_schema = "responseSchema" in config or "responseJsonSchema" in config
    need(not has_schema or config.get("responseMimeType") == "application/json", "a schema needs responseMimeType application/json")
    need(len(config.get("stopSequences", [])) <= 5, "at most 5 stop_sequences")
    thinking = config.get("thinkingConfig") or {}
    need("thinkingBudget" not in thinking or "thinkingLevel" not in thinking, "only one of thinking budget and thinking level")


def _check_turns(contents, model, need, issued):
    roles = [content.get("role", "user") for content in contents]
    need(set(roles) <= {"user", "model"}, f"Please use a valid role: user, model: {roles}")
    need(roles[0] == "user", "the first turn must be the user's")
    # Text after results is a turn of its own, because results stand alone in theirs.
    after_results = [any("functionResponse" in part for part in content["parts"]) for content in contents]
    need(all(a != b or is_result for a, b, is_result in zip(roles, roles[1:], after_results)), f"roles must alternate: {roles}")
    asked_last = max((i for i, c in enumerate(contents) if c.get("role") != "model" and any("text" in p for p in c["parts"])), default=0)
    open_calls = []
    for index, content in enumerate(contents):
        parts, where = content.get("parts"), f"contents[{index}]"
        need(parts, f"{where}.parts must not be empty")
        results = [part["functionResponse"]["name"] for part in parts if "functionResponse" in part]
        need(not results or len(results) == len(parts), f"{where}: function responses stand alone in their turn")
        need(results == open_calls, f"{where}: function response parts {results} must equal the function call parts {open_calls}")
        open_calls = [part["functionCall"]["name"] for part in parts if "functionCall" in part]
        for part in parts:
            _check_part(part, where, need, issued)
        if open_calls and index > asked_last and model.startswith("gemini-3"):
            first = next(part for part in parts if "functionCall" in part)
            need(first.get("thoughtSignature"), f"{where}: Function call is missing a thought_signature")
    need(not open_calls, f"function calls without responses: {open_calls}")


def _check_part(part, where, need, issued):
    need(part.get("text") != "" or "thoughtSignature" in part, f"{where}: an empty text part")
    if "functionCall" in part:
        need(isinstance(part["functionCall"].get("args", {}), dict), f"{where}: args is no object")
    if "functionResponse" in part:
        need(isinstance(part["functionResponse"].get("response"), dict), f"{where}: response is no object")
    if "fileData" in part:
        need(part["fileData"].get("fileUri"), f"{where}: fileData without a URI")
    seal = part.get("thoughtSignature")
    known = seal is None or seal in (_encoded(_NO_SEAL), _NO_SEAL) or any(seal == _encoded(one) for _, one in issued)
    need(known, f"{where}: Thought signature is not valid: {seal!r}")


def check_shape(path, body):
    from google.genai import types

    body = body.get("generateContentRequest", body)
    for content in body["contents"] + ([body["systemInstruction"]] if "systemInstruction" in body else []):
        types.Content.model_validate(content)
    for name, shape in (("tools", types.Tool), ("safetySettings", types.SafetySetting)):
        for row in body.get(name, []):
            shape.model_validate(row)
    types.ToolConfig.model_validate(body.get("toolConfig", {}))
    types.GenerationConfig.model_validate(body.get("generationConfig", {}))


def _camel(value, name=""):
    """The body in the spelling of Google's documents: its parser, and so its own SDK, also takes `mime_type` for `mimeType`."""
    if isinstance(value, list):
        return [_camel(item, name) for item in value]
    if not isinstance(value, dict) or name in ("args", "response", "parametersJsonSchema", "responseJsonSchema", "properties"):
        return value
    spelled = {re.sub(r"_([a-z])", lambda m: m[1].upper(), key): inner for key, inner in value.items()}
    return {key: _camel(inner, key) for key, inner in spelled.items()}


def asked(body):
    """The request's turns as plain tuples, the same for all wires."""
    body = _camel(body.get("generateContentRequest", body))
    turns = [("system", part["text"]) for part in (body.get("systemInstruction") or {}).get("parts", [])]
    for content in body["contents"]:
        role = "assistant" if content.get("role") == "model" else "user"
        for part in content["parts"]:
            seal = _decoded(part.get("thoughtSignature"))
            if "functionCall" in part:
                turns += [("thought", None, seal)] if seal not in (None, _NO_SEAL) else []
                turns.append(("call", part["functionCall"]["name"], part["functionCall"].get("args", {})))
            elif "functionResponse" in part:
                turns.append(_result(part["functionResponse"]))
            elif part.get("thought"):
                turns.append(("thought", part["text"], seal))
            elif "text" in part:
                turns.append((role, part["text"]))
            elif "inlineData" in part:
                turns.append(("image", _url(part["inlineData"])))
            else:
                turns.append(("image", part["fileData"]["fileUri"]) if "fileData" in part else ("other", part))
    return turns


def _result(result):
    response = result["response"]
    text = response.get("result", response.get("output", response.get("content", response)))
    images = [_url(part["inlineData"]) for part in result.get("parts", []) if "inlineData" in part]
    return "result", result["name"], text if isinstance(text, str) else json.dumps(text), images


def _url(blob):
    return f"data:{blob['mimeType']};base64,{blob['data']}"


def settings(body):
    """The settings that have a twin on every wire."""
    body = _camel(body.get("generateContentRequest", body))
    config = body.get("generationConfig") or {}
    calling = (body.get("toolConfig") or {}).get("functionCallingConfig") or {}
    words = {"AUTO": "auto", "NONE": "none", "ANY": "required"}
    named = calling.get("allowedFunctionNames")
    return {
        "max": config.get("maxOutputTokens"),
        "stop": config.get("stopSequences", []),
        "temperature": config.get("temperature"),
        "tools": [row["name"] for tool in body.get("tools", []) for row in tool.get("functionDeclarations", [])],
        "choice": ("function", named[0]) if named else words.get(calling.get("mode")),
        "schema": config.get("responseJsonSchema") or config.get("responseSchema"),
        "effort": ((config.get("thinkingConfig") or {}).get("thinkingLevel") or "").lower() or None,
    }


# === What is answered ===


def _encoded(seal):
    return base64.b64encode(seal.encode()).decode()


def _decoded(seal):
    try:
        return seal and base64.b64decode(seal, validate=True).decode()
    except ValueError:
        return seal


def _finish(reply):
    return {"length": "MAX_TOKENS", "refusal": "SAFETY"}.get(reply.stop, "STOP")


def _usage(usage):
    return {
        "promptTokenCount": usage.fresh + usage.written + usage.read, "candidatesTokenCount": usage.text, "totalTokenCount": usage.input + usage.output,
        **({"cachedContentTokenCount": usage.read} if usage.read else {}),
        **({"thoughtsTokenCount": usage.reasoning} if usage.reasoning else {}),
    }


def _parts(reply):
    """The parts; a thought's seal stands on what follows it, as Google has it."""
    out, seal = [], None
    for part in reply.parts:
        if isinstance(part, Thought):
            out.append({"text": part.text, "thought": True})
            seal = part.seal
            continue
        made = {"functionCall": {"id": part.id, "name": part.name, "args": part.arguments}} if isinstance(part, Call) else {"text": part}
        own = seal or (part.seal if isinstance(part, Call) else None)
        out.append(made | ({"thoughtSignature": _encoded(own)} if own else {}))
        seal = None
    return out


def _chunk(parts, usage, model, finish=None):
    candidate = {"content": {"role": "model", "parts": parts}, "index": 0} | ({"finishReason": finish} if finish else {})
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": model, "responseId": "mock-1"}


def whole(reply, body):
    if body.get("counts"):
        return {"totalTokens": reply.usage.input}
    return _chunk(_parts(reply), _usage(reply.usage), body["model"], _finish(reply))


def frames(reply, body):
    """The events of a stream, the end mark last, and how many come before it can break."""
    running = _usage(reply.usage) | {"candidatesTokenCount": 1}
    out = []
    for part in _parts(reply):
        if "text" not in part:
            out.append([part])
            continue
        cut = [part | {"text": piece} for piece in pieces(part["text"])]
        for piece in cut[:-1]:
            piece.pop("thoughtSignature", None)
        out += [[piece] for piece in cut]
    before_end = len(out)
    chunks = [_chunk(parts, running, body["model"]) for parts in out]
    chunks.append(_chunk([{"text": ""}], _usage(reply.usage), body["model"], _finish(reply)))
    return [_event(value) for value in chunks], before_end


def _event(value):
    return f"data: {json.dumps(value)}\r\n\r\n".encode()


def error(status, message):
    word = {
        400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED", 503: "UNAVAILABLE",
    }.get(status, "INTERNAL")
    return {"error": {"code": status, "message": message, "status": word}}


def error_frame(message):
    return _event(error(503, message))
