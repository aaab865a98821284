"""OpenAI's Responses as a provider sees and speaks them."""

import json

from replies import Call, Thought, pieces

PATHS = ("/responses",)


def model_of(path, body):
    return body.get("model")


def is_stream(path, body):
    return body.get("stream") is True


def key_of(headers):
    return headers.get("authorization", "").removeprefix("Bearer ")


# === What is asked ===


def check(path, body, headers, need, issued):
    """What the provider would refuse. `issued` holds the (text, encrypted part) of every piece of reasoning that it gave out."""
    need(body.get("input"), "`input` is missing")
    need(not body.get("previous_response_id"), "previous_response_not_found")
    limit = body.get("max_output_tokens")
    need(limit is None or limit >= 16, "`max_output_tokens` must be at least 16")
    tools = [tool.get("name") for tool in body.get("tools", []) if tool.get("type") == "function"]
    for tool in body.get("tools", []):
        need("function" not in tool, "tools: a function is flat here")
        need(tool.get("strict") is not True or tool["parameters"].get("additionalProperties") is False, "tools: strict needs additionalProperties: false")
    choice = body.get("tool_choice")
    need(not choice or choice in ("auto", "none") or tools, "`tool_choice` needs `tools`")
    need(not isinstance(choice, dict) or choice.get("name") in tools, f"`tool_choice` names no tool: {choice}")
    need(body.get("stream") or not body.get("stream_options"), "`stream_options` needs `stream`")
    items = body["input"]
    if not isinstance(items, str):
        _check_items(items, need, issued)


def _check_items(items, need, issued):
    called = {}
    for index, item in enumerate(items):
        kind, where = item.get("type", "message"), f"input[{index}]"
        if kind == "message":
            _check_message(item, where, need)
        elif kind == "function_call":
            need(isinstance(json.loads(item["arguments"]), dict), f"{where}.arguments are no object")
            need(item.get("id", "fc_").startswith("fc_"), f"{where}.id: Expected an ID that begins with 'fc'")
            called[item["call_id"]] = False
        elif kind == "function_call_output":
            need(item["call_id"] in called, f"{where}: No tool call found for function call output with call_id {item['call_id']}")
            called[item["call_id"]] = True
        elif kind == "reasoning":
            need(item.get("id", "").startswith("rs_"), f"{where}.id: Expected an ID that begins with 'rs'")
            text = "".join(part["text"] for part in item["summary"])
            need(item.get("encrypted_content"), f"{where}: an item with this id was not found; items are not stored with `store: false`")
            known = [(said, seal) for said, seal in issued if seal == item["encrypted_content"] and text in ("", said)]
            need(known, f"{where}: invalid_encrypted_content: {item}")
            following = items[index + 1].get("type", "message") if index + 1 < len(items) else None
            follows = following in ("function_call", "reasoning") or items[index + 1:][:1] and items[index + 1].get("role") == "assistant"
            need(follows, f"{where}: reasoning was provided without its required following item")
        else:
            need(False, f"{where}: unexpected type {kind!r}")
    need(all(called.values()), f"No tool output found for function calls: {called}")


def _check_message(item, where, need):
    role, content = item.get("role"), item.get("content")
    need(role in ("user", "assistant", "system", "developer"), f"{where}: unexpected role {role!r}")
    need(content, f"{where}.content must not be empty")
    wanted = ("output_text", "refusal") if role == "assistant" else ("input_text", "input_image", "input_file")
    for part in content if isinstance(content, list) else []:
        need(part.get("type") in wanted, f"{where}: a part of the {role} is of type {part.get('type')!r}, not {wanted}")


def check_shape(path, body):
    from openai.types.responses import ResponseCreateParams
    from shapes import check as check_type

    check_type(body, ResponseCreateParams)


def asked(body):
    """The request's turns as plain tuples, the same for all wires."""
    turns = [("system", body["instructions"])] if body.get("instructions") else []
    if isinstance(body["input"], str):
        return turns + [("user", body["input"])]
    names = {}
    for item in body["input"]:
        kind = item.get("type", "message")
        if kind == "message":
            role = "system" if item["role"] == "developer" else item["role"]
            for part_kind, value in _parts(item["content"]):
                turns.append((role if part_kind == "text" else part_kind, value))
        elif kind == "function_call":
            names[item["call_id"]] = item["name"]
            turns.append(("call", item["name"], json.loads(item["arguments"])))
        elif kind == "function_call_output":
            parts = list(_parts(item["output"]))
            text = "".join(value for part_kind, value in parts if part_kind == "text")
            turns.append(("result", names.get(item["call_id"]), text, [value for part_kind, value in parts if part_kind == "image"]))
        elif kind == "reasoning":
            turns.append(("thought", "".join(part["text"] for part in item["summary"]), item.get("encrypted_content")))
    return turns


def _parts(content):
    if isinstance(content, str):
        yield "text", content
    for part in content if isinstance(content, list) else []:
        if part["type"] in ("input_text", "output_text"):
            yield "text", part["text"]
        elif part["type"] == "refusal":
            yield "text", part["refusal"]
        elif part["type"] == "input_image":
            yield "image", part["image_url"]
        else:
            yield part["type"], part


def settings(body):
    """The settings that have a twin on every wire; there is no `stop` here."""
    choice = body.get("tool_choice")
    return {
        "max": body.get("max_output_tokens"),
        "stop": [],
        "temperature": body.get("temperature"),
        "tools": [tool["name"] for tool in body.get("tools", [])],
        "choice": ("function", choice["name"]) if isinstance(choice, dict) else choice,
        "schema": ((body.get("text") or {}).get("format") or {}).get("schema"),
        "effort": (body.get("reasoning") or {}).get("effort"),
    }


# === What is answered ===


def _usage(usage):
    return {
        "input_tokens": usage.input, "input_tokens_details": {"cached_tokens": usage.read, "cache_write_tokens": usage.written},
        "output_tokens": usage.output, "output_tokens_details": {"reasoning_tokens": usage.reasoning}, "total_tokens": usage.input + usage.output,
    }


def _part(reply, text):
    if reply.stop == "refusal":
        return {"type": "refusal", "refusal": text}
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _item(reply, part, index, body):
    if isinstance(part, Thought):
        # Neither is given to those who do not ask for it.
        seal = {"encrypted_content": part.seal} if "reasoning.encrypted_content" in (body.get("include") or []) else {}
        return {"id": f"rs_mock_{index}", "type": "reasoning", "summary": [{"type": "summary_text", "text": part.text}] if _shows(body) else [], **seal}
    if isinstance(part, Call):
        arguments = json.dumps(part.arguments)
        return {"id": f"fc_mock_{index}", "type": "function_call", "status": "completed", "call_id": part.id, "name": part.name, "arguments": arguments}
    status = "incomplete" if reply.stop == "length" else "completed"
    return {"id": f"msg_mock_{index}", "type": "message", "role": "assistant", "status": status, "content": [_part(reply, part)]}


def _response(reply, body, output, status):
    echoed = {name: body[name] for name in ("instructions", "max_output_tokens", "temperature", "top_p", "reasoning", "text", "metadata") if name in body}
    return {
        "id": "resp_mock_1", "object": "response", "created_at": 1_790_000_000, "model": body["model"], "status": status, "output": output, "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None, "instructions": None, "metadata": {},
        "parallel_tool_calls": True, "tool_choice": body.get("tool_choice", "auto"), "tools": body.get("tools", []), "store": body.get("store", True),
        "temperature": 1.0, "top_p": 1.0, **echoed, "usage": _usage(reply.usage) if status in ("completed", "incomplete") else None,
    }


def _status(reply):
    return "incomplete" if reply.stop == "length" else "completed"


def _shows(body):
    return bool((body.get("reasoning") or {}).get("summary"))


def whole(reply, body):
    return _response(reply, body, [_item(reply, part, index, body) for index, part in enumerate(reply.parts)], _status(reply))


def frames(reply, body):
    """The events of a stream, the end mark last, and how many come before it can break."""
    begun = _response(reply, body, [], "in_progress")
    out = [{"type": "response.created", "response": begun}, {"type": "response.in_progress", "response": begun}]
    for index, part in enumerate(reply.parts):
        item = _item(reply, part, index, body)
        here = {"item_id": item["id"], "output_index": index}
        if isinstance(part, Thought):
            empty, events = item | {"summary": []}, _thought_events(here | {"summary_index": 0}, part) if _shows(body) else []
        elif isinstance(part, Call):
            empty, events = item | {"arguments": "", "status": "in_progress"}, _call_events(here, item)
        else:
            empty, events = item | {"content": [], "status": "in_progress"}, _text_events(here | {"content_index": 0}, reply, part)
        out.append({"type": "response.output_item.added", "output_index": index, "item": empty})
        out += events
        out.append({"type": "response.output_item.done", "output_index": index, "item": item})
    before_end = len(out) - 1
    out.append({"type": f"response.{_status(reply)}", "response": whole(reply, body)})
    return [_event(value | {"sequence_number": number}) for number, value in enumerate(out)], before_end


def _thought_events(here, part):
    whole_part = {"type": "summary_text", "text": part.text}
    return [
        {"type": "response.reasoning_summary_part.added", **here, "part": whole_part | {"text": ""}},
        *({"type": "response.reasoning_summary_text.delta", **here, "delta": piece} for piece in pieces(part.text)),
        {"type": "response.reasoning_summary_text.done", **here, "text": part.text},
        {"type": "response.reasoning_summary_part.done", **here, "part": whole_part},
    ]


def _call_events(here, item):
    return [
        *({"type": "response.function_call_arguments.delta", **here, "delta": piece} for piece in pieces(item["arguments"])),
        {"type": "response.function_call_arguments.done", **here, "name": item["name"], "arguments": item["arguments"]},
    ]


def _text_events(here, reply, text):
    kind = "refusal" if reply.stop == "refusal" else "output_text"
    more = {} if kind == "refusal" else {"logprobs": []}
    done = {"refusal": text} if kind == "refusal" else {"text": text, "logprobs": []}
    return [
        {"type": "response.content_part.added", **here, "part": _part(reply, "")},
        *({"type": f"response.{kind}.delta", **here, "delta": piece, **more} for piece in pieces(text)),
        {"type": f"response.{kind}.done", **here, **done},
        {"type": "response.content_part.done", **here, "part": _part(reply, text)},
    ]


def _event(value):
    return f"event: {value['type']}\ndata: {json.dumps(value)}\n\n".encode()


def error(status, message):
    kind, code = {
        401: ("invalid_request_error", "invalid_api_key"), 404: ("invalid_request_error", "model_not_found"),
        429: ("requests", "rate_limit_exceeded"), 400: ("invalid_request_error", "invalid_value"),
    }.get(status, ("server_error", None))
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def error_frame(message):
    return _event({"type": "error", "code": "server_error", "message": message, "param": None, "sequence_number": 99})
