"""Anthropic's Messages as a provider sees and speaks them."""

import json
import re

from replies import Call, Thought, pieces

PATHS = ("/messages", "/messages/count_tokens")
# The version of the API that takes no settings of sampling any more.
_NEWEST = "2026-10-21"
_SAMPLING = ("temperature", "top_p", "top_k")
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_ID = re.compile(r"[a-zA-Z0-9_-]+")


def model_of(path, body):
    return body.get("model")


def is_stream(path, body):
    return body.get("stream") is True


def key_of(headers):
    return headers.get("x-api-key")


# === What is asked ===


def check(path, body, headers, need, issued):
    """What the provider would refuse. `issued` holds the (text, signature) of every thought that it gave out."""
    version = headers.get("anthropic-version")
    need(version in ("2023-06-01", _NEWEST), f"anthropic-version: {version!r} is not a valid version")
    sampling = [name for name in _SAMPLING if name in body]
    need(version != _NEWEST or not sampling, f"{sampling}: not supported in this version")
    counts = path.endswith("/count_tokens")
    limit = body.get("max_tokens")
    need(counts or (isinstance(limit, int) and limit >= 1), "max_tokens: Field required")
    need(not counts or "max_tokens" not in body, "max_tokens: Extra inputs are not permitted")
    _check_messages(body, need, issued)
    tools = [tool["name"] for tool in body.get("tools", [])]
    need(all(_NAME.fullmatch(name) for name in tools), f"tools: a name does not match the pattern: {tools}")
    need(len(set(tools)) == len(tools), "tools: Tool names must be unique")
    choice = body.get("tool_choice") or {}
    need(not choice or tools, "tool_choice may only be specified while providing tools")
    need(choice.get("type") != "tool" or choice.get("name") in tools, f"tool_choice: no tool {choice.get('name')!r}")
    _check_thinking(body, choice, need)
    temperature = body.get("temperature")
    need(temperature is None or 0 <= temperature <= 1, "temperature: must be between 0 and 1")
    need(temperature is None or body.get("top_p") is None, "`temperature` and `top_p` cannot both be specified for this model")
    need(all(stop.strip() for stop in body.get("stop_sequences", [])), "stop_sequences: each must contain non-whitespace")
    need(set(body.get("metadata") or {}) <= {"user_id"}, "metadata: Extra inputs are not permitted")


def _check_thinking(body, choice, need):
    thinking = body.get("thinking") or {"type": "disabled"}
    if thinking["type"] == "disabled":
        return
    if thinking["type"] == "enabled":
        budget = thinking.get("budget_tokens", 0)
        need(1024 <= budget, "thinking.budget_tokens: must be at least 1024")
        need("max_tokens" not in body or budget < body["max_tokens"], "`max_tokens` must be greater than `thinking.budget_tokens`")
    need(body.get("temperature") in (None, 1), "`temperature` may only be set to 1 when thinking is enabled")
    need(body.get("top_k") is None, "`top_k` must be unset when thinking is enabled")
    need(choice.get("type") not in ("any", "tool"), "Thinking may not be enabled when tool_choice forces tool use")
    if thinking["type"] == "enabled":
        for before, after in zip(body["messages"], body["messages"][1:]):
            if any(block["type"] == "tool_result" for block in _blocks(after)) and after is body["messages"][-1]:
                first = _blocks(before)[0]["type"]
                need(first in ("thinking", "redacted_thinking"), f"Expected `thinking` or `redacted_thinking`, but found `{first}`")


def _check_messages(body, need, issued):
    messages = body.get("messages")
    need(isinstance(messages, list) and messages, "messages: at least one message is required")
    need(messages[0].get("role") == "user", "messages: first message must use the `user` role")
    open_calls = []
    for index, message in enumerate(messages):
        role, where = message.get("role"), f"messages.{index}"
        need(role in ("user", "assistant"), f"{where}: unexpected role {role!r}")
        blocks = _blocks(message)
        need(blocks, f"{where}: content must not be empty")
        for block in blocks:
            _check_block(block, role, where, need, issued)
        results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
        need(all(block["type"] == "tool_result" for block in blocks[:len(results)]), f"{where}: tool_result blocks must come first")
        need(sorted(results) == sorted(open_calls), f"{where}: `tool_use` ids {open_calls} have the results {results}")
        open_calls = [block["id"] for block in blocks if block["type"] == "tool_use"]
        need(len(set(open_calls)) == len(open_calls), f"{where}: `tool_use` ids must be unique")
    need(not open_calls, f"`tool_use` ids were found without `tool_result` blocks: {open_calls}")
    last = _blocks(messages[-1])[-1]
    is_prefill = messages[-1]["role"] == "assistant" and last["type"] == "text"
    need(not is_prefill or last["text"] == last["text"].rstrip(), "final assistant content cannot end with trailing whitespace")


def _check_block(block, role, where, need, issued):
    kind = block.get("type")
    need((role == "assistant") == (kind in ("thinking", "redacted_thinking", "tool_use")) or kind == "text", f"{where}: a {kind} block of the {role}")
    if kind == "text":
        need(block["text"].strip(), f"{where}: text content blocks must contain non-whitespace text")
    elif kind == "tool_use":
        need(isinstance(block.get("input"), dict), f"{where}: tool_use.input: Input should be an object")
        need(_ID.fullmatch(block["id"]), f"{where}: tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'")
        need(_NAME.fullmatch(block["name"]), f"{where}: tool_use.name: String should match the pattern")
    elif kind == "thinking":
        need((block.get("thinking"), block.get("signature")) in issued, f"{where}: Invalid `signature` in `thinking` block: {block}")
    elif kind == "tool_result" and isinstance(block.get("content"), list):
        for inner in block["content"]:
            _check_block(inner, "user", f"{where}.content", need, issued)


def _blocks(message):
    content = message.get("content")
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def check_shape(path, body):
    from anthropic.types import MessageCountTokensParams, MessageCreateParams
    from shapes import check as check_type

    # The SDK declares the newest version of the API; `check` knows what the older one takes besides.
    declared = {name: value for name, value in body.items() if name not in _SAMPLING}
    check_type(declared, MessageCountTokensParams if path.endswith("/count_tokens") else MessageCreateParams)


def asked(body):
    """The request's turns as plain tuples, the same for all wires."""
    system = body.get("system") or []
    turns = [("system", block["text"]) for block in ([{"text": system}] if isinstance(system, str) else system)]
    names = {}
    for message in body["messages"]:
        for block in _blocks(message):
            kind = block["type"]
            if kind == "text":
                turns.append((message["role"], block["text"]))
            elif kind == "thinking":
                turns.append(("thought", block["thinking"], block["signature"]))
            elif kind == "tool_use":
                names[block["id"]] = block["name"]
                turns.append(("call", block["name"], block["input"]))
            elif kind == "tool_result":
                inner = block.get("content") or []
                inner = [{"type": "text", "text": inner}] if isinstance(inner, str) else inner
                text = "".join(part["text"] for part in inner if part["type"] == "text")
                turns.append(("result", names.get(block["tool_use_id"]), text, [_url(part) for part in inner if part["type"] == "image"]))
            else:
                turns.append((kind, _url(block) if kind == "image" else block))
    return turns


def _url(image):
    source = image["source"]
    return source["url"] if source["type"] == "url" else f"data:{source['media_type']};base64,{source['data']}"


def settings(body):
    """The settings that have a twin on every wire."""
    choice = body.get("tool_choice") or {}
    words = {"auto": "auto", "any": "required", "none": "none", "tool": ("function", choice.get("name"))}
    return {
        "max": body.get("max_tokens"),
        "stop": body.get("stop_sequences", []),
        "temperature": body.get("temperature"),
        "tools": [tool["name"] for tool in body.get("tools", [])],
        "choice": words.get(choice.get("type")),
        "schema": ((body.get("output_config") or {}).get("format") or {}).get("schema"),
        "effort": (body.get("output_config") or {}).get("effort"),
    }


# === What is answered ===


def _stop(reply):
    if reply.calls:
        return "tool_use"
    return {"length": "max_tokens", "stop_sequence": "stop_sequence", "refusal": "refusal"}.get(reply.stop, "end_turn")


def _usage(usage):
    return {
        "input_tokens": usage.fresh, "cache_creation_input_tokens": usage.written, "cache_read_input_tokens": usage.read,
        "cache_creation": {"ephemeral_5m_input_tokens": usage.written, "ephemeral_1h_input_tokens": 0},
        "output_tokens": usage.output, "output_tokens_details": {"thinking_tokens": usage.reasoning}, "service_tier": "standard",
    }


def _block(part):
    if isinstance(part, Thought):
        return {"type": "thinking", "thinking": part.text, "signature": part.seal}
    if isinstance(part, Call):
        return {"type": "tool_use", "id": part.id, "name": part.name, "input": part.arguments}
    return {"type": "text", "text": part}


def whole(reply, body):
    if "max_tokens" not in body:
        return {"input_tokens": reply.usage.input}
    return {
        "id": "msg_mock_1", "type": "message", "role": "assistant", "model": body["model"], "content": [_block(part) for part in reply.parts],
        "stop_reason": _stop(reply), "stop_sequence": reply.stop_sequence, "usage": _usage(reply.usage),
    }


def frames(reply, body):
    """The events of a stream, the end mark last, and how many come before it can break."""
    start = whole(reply, body) | {"content": [], "stop_reason": None, "stop_sequence": None}
    start["usage"] = start["usage"] | {"output_tokens": 1}
    out = [{"type": "message_start", "message": start}, {"type": "ping"}]
    for index, part in enumerate(reply.parts):
        if isinstance(part, Thought):
            empty, deltas = _block(Thought("", "")), [{"type": "thinking_delta", "thinking": piece} for piece in pieces(part.text)]
            deltas.append({"type": "signature_delta", "signature": part.seal})
        elif isinstance(part, Call):
            # Without arguments nothing follows but one empty piece.
            text = json.dumps(part.arguments) if part.arguments else ""
            empty, deltas = _block(Call(part.id, part.name, {})), [{"type": "input_json_delta", "partial_json": piece} for piece in [""] + pieces(text)]
        else:
            empty, deltas = _block(""), [{"type": "text_delta", "text": piece} for piece in pieces(part)]
        out.append({"type": "content_block_start", "index": index, "content_block": empty})
        out += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        out.append({"type": "content_block_stop", "index": index})
    before_end = len(out) - 1
    usage = _usage(reply.usage)
    out.append({"type": "message_delta", "delta": {"stop_reason": _stop(reply), "stop_sequence": reply.stop_sequence}, "usage": usage})
    out.append({"type": "message_stop"})
    return [_event(value) for value in out], before_end


def _event(value):
    return f"event: {value['type']}\ndata: {json.dumps(value)}\n\n".encode()


def error(status, message):
    kind = {
        400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error",
        529: "overloaded_error",
    }.get(status, "api_error")
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_mock_1"}


def error_frame(message):
    return _event({"type": "error", "error": {"type": "overloaded_error", "message": message}})
