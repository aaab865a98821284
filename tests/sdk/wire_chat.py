"""OpenAI's chat completions as a provider sees and speaks them."""

import json

from replies import Call, Thought, pieces

PATHS = ("/chat/completions",)


def model_of(path, body):
    return body.get("model")


def is_stream(path, body):
    return body.get("stream") is True


def key_of(headers):
    return headers.get("authorization", "").removeprefix("Bearer ")


# === What is asked ===


def check(path, body, headers, need, issued):
    """What the provider would refuse. `issued` are the seals it has given out; chat has none."""
    messages = body.get("messages")
    need(isinstance(messages, list) and messages, "`messages` must be a list that is not empty")
    open_calls = []
    for index, message in enumerate(messages):
        role, where = message.get("role"), f"messages[{index}]"
        if role == "tool":
            need(message.get("tool_call_id") in open_calls, f"{where}: no call before it has the id {message.get('tool_call_id')!r}")
            open_calls.remove(message["tool_call_id"])
            continue
        need(not open_calls, f"{where}: these calls have no result: {open_calls}")
        if role == "assistant":
            calls = message.get("tool_calls") or []
            need("tool_calls" not in message or calls, f"{where}.tool_calls must not be empty")
            need(calls or message.get("content") or message.get("refusal"), f"{where}: neither content nor calls")
            for call in calls:
                _check_arguments(call["function"]["arguments"], where, need)
            open_calls = [call["id"] for call in calls]
            need(len(set(open_calls)) == len(open_calls), f"{where}: ids of calls must differ")
        else:
            need(message.get("content"), f"{where}.content must not be empty")
    need(not open_calls, f"these calls have no result: {open_calls}")
    names = [tool["function"]["name"] for tool in body.get("tools", []) if tool.get("type") == "function"]
    need("tools" not in body or body["tools"], "`tools` must not be empty")
    need(not body.get("tool_choice") or names or body["tool_choice"] == "none", "`tool_choice` needs `tools`")
    need(body.get("stream") or not body.get("stream_options"), "`stream_options` needs `stream`")
    stop = body.get("stop")
    need(not isinstance(stop, list) or len(stop) <= 4, "`stop` takes at most 4")
    need(0 <= (body.get("temperature") or 0) <= 2, "`temperature` is between 0 and 2")


def _check_arguments(text, where, need):
    try:
        need(isinstance(json.loads(text), dict), f"{where}: arguments are no object")
    except ValueError:
        need(False, f"{where}: arguments are no JSON: {text!r}")


def check_shape(path, body):
    from openai.types.chat import CompletionCreateParams
    from shapes import check as check_type

    # Servers that reason and speak chat have this one member more than OpenAI.
    messages = [{name: value for name, value in message.items() if name != "reasoning_content"} for message in body["messages"]]
    check_type(body | {"messages": messages}, CompletionCreateParams)


def asked(body):
    """The request's turns as plain tuples, the same for all wires."""
    turns, names = [], {}
    for message in body["messages"]:
        role = message["role"]
        if role == "tool":
            turns.append(("result", names.get(message["tool_call_id"]), *_content(message["content"])))
            continue
        if thought := message.get("reasoning_content"):
            turns.append(("thought", thought, None))
        for kind, value in _parts(message.get("content")):
            turns.append((("system" if role == "developer" else role) if kind == "text" else kind, value))
        for call in message.get("tool_calls") or []:
            names[call["id"]] = call["function"]["name"]
            turns.append(("call", call["function"]["name"], json.loads(call["function"]["arguments"])))
    return turns


def _parts(content):
    if isinstance(content, str):
        yield "text", content
    for part in content if isinstance(content, list) else []:
        if part["type"] == "text":
            yield "text", part["text"]
        elif part["type"] == "image_url":
            yield "image", part["image_url"]["url"]
        elif part["type"] == "refusal":
            yield "text", part["refusal"]
        else:
            yield part["type"], part


def _content(content):
    parts = list(_parts(content))
    return "".join(text for kind, text in parts if kind == "text"), [value for kind, value in parts if kind == "image"]


def settings(body):
    """The settings that have a twin on every wire."""
    choice = body.get("tool_choice")
    schema = (body.get("response_format") or {}).get("json_schema") or {}
    stop = body.get("stop") or []
    return {
        "max": body.get("max_completion_tokens") or body.get("max_tokens"),
        "stop": [stop] if isinstance(stop, str) else stop,
        "temperature": body.get("temperature"),
        "tools": [tool["function"]["name"] for tool in body.get("tools", [])],
        "choice": ("function", choice["function"]["name"]) if isinstance(choice, dict) else choice,
        "schema": schema.get("schema"),
        "effort": body.get("reasoning_effort"),
    }


# === What is answered ===


def _finish(reply):
    if reply.calls:
        return "tool_calls"
    return {"length": "length", "refusal": "content_filter"}.get(reply.stop, "stop")


def _usage(usage):
    return {
        "prompt_tokens": usage.input, "completion_tokens": usage.output, "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.read, "cache_write_tokens": usage.written},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }


def whole(reply, body):
    message = {"role": "assistant", "content": reply.text or None, "refusal": None}
    if reply.stop == "refusal":
        message |= {"content": None, "refusal": reply.text}
    if reply.thoughts:
        message["reasoning_content"] = "".join(thought.text for thought in reply.thoughts)
    if reply.calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": json.dumps(call.arguments)}} for call in reply.calls
        ]
    return {
        "id": "chatcmpl-mock-1", "object": "chat.completion", "created": 1_790_000_000, "model": body["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": _finish(reply), "logprobs": None}],
        "usage": _usage(reply.usage),
    }


def frames(reply, body):
    """The events of a stream, the end mark last, and how many come before it can break."""
    head = {"id": "chatcmpl-mock-1", "object": "chat.completion.chunk", "created": 1_790_000_000, "model": body["model"]}
    wants_usage = (body.get("stream_options") or {}).get("include_usage")

    def chunk(delta, finish=None):
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
        return head | {"choices": [choice]} | ({"usage": None} if wants_usage else {})

    out, index = [chunk({"role": "assistant", "content": ""})], 0
    for part in reply.parts:
        if isinstance(part, Thought):
            out += [chunk({"reasoning_content": piece}) for piece in pieces(part.text)]
        elif isinstance(part, Call):
            out.append(chunk({"tool_calls": [{"index": index, "id": part.id, "type": "function", "function": {"name": part.name, "arguments": ""}}]}))
            out += [chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]}) for piece in pieces(json.dumps(part.arguments))]
            index += 1
        else:
            out += [chunk({"refusal" if reply.stop == "refusal" else "content": piece}) for piece in pieces(part)]
    before_end = len(out)
    out.append(chunk({}, _finish(reply)))
    if wants_usage:
        out.append(head | {"choices": [], "usage": _usage(reply.usage)})
    return [_event(value) for value in out] + [b"data: [DONE]\n\n"], before_end


def _event(value):
    return f"data: {json.dumps(value)}\n\n".encode()


def error(status, message):
    kind, code = {
        401: ("invalid_request_error", "invalid_api_key"), 404: ("invalid_request_error", "model_not_found"),
        429: ("requests", "rate_limit_exceeded"), 400: ("invalid_request_error", "invalid_value"),
    }.get(status, ("server_error", None))
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def error_frame(message):
    return _event({"error": {"message": message, "type": "server_error", "param": None, "code": "overloaded"}})
