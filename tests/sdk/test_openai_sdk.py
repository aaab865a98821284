"""The official OpenAI SDK as the client of a router with a node and a real model."""

import json

import openai
import pytest

from programs import KEY, MODEL

QUESTION = [{"role": "user", "content": "Name three colours."}]


def test_a_chat_is_answered(client):
    answer = client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=24, temperature=0)
    assert answer.object == "chat.completion"
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].message.content.strip()
    assert answer.choices[0].finish_reason in ("stop", "length")
    assert answer.usage.completion_tokens <= 24
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_greedy_answers_repeat_and_seeds_hold(client):
    def ask(**more):
        return client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=16, **more).choices[0].message.content

    assert ask(temperature=0) == ask(temperature=0)
    assert ask(temperature=1.0, seed=7) == ask(temperature=1.0, seed=7)


def test_a_stream_adds_up_to_the_whole_answer(client):
    settings = {"model": MODEL, "messages": QUESTION, "max_tokens": 24, "temperature": 0}
    whole = client.chat.completions.create(**settings)
    text, finish, usage, chunks = "", None, None, 0
    for chunk in client.chat.completions.create(**settings, stream=True, stream_options={"include_usage": True}):
        assert chunk.object == "chat.completion.chunk"
        usage = chunk.usage or usage
        for choice in chunk.choices:
            text += choice.delta.content or ""
            finish = choice.finish_reason or finish
            chunks += 1
    assert (text, finish) == (whole.choices[0].message.content, whole.choices[0].finish_reason)
    assert chunks > 3, "the answer must come in pieces"
    assert usage.completion_tokens == whole.usage.completion_tokens


def test_a_stop_string_ends_the_answer_and_is_not_in_it(client):
    settings = {"model": MODEL, "messages": QUESTION, "max_tokens": 32, "temperature": 0}
    text = client.chat.completions.create(**settings).choices[0].message.content
    stop = text[len(text) // 2:len(text) // 2 + 3]
    for stream in (False, True):
        if stream:
            parts = client.chat.completions.create(**settings, stop=[stop], stream=True)
            stopped = "".join(choice.delta.content or "" for chunk in parts for choice in chunk.choices)
        else:
            stopped = client.chat.completions.create(**settings, stop=[stop]).choices[0].message.content
        assert stopped == text[:text.index(stop)]


def test_log_probabilities_are_given_on_request(client):
    answer = client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=4, temperature=0, logprobs=True, top_logprobs=3)
    tokens = answer.choices[0].logprobs.content
    assert len(tokens) == answer.usage.completion_tokens
    for token in tokens:
        assert token.logprob <= 0
        assert len(token.top_logprobs) == 3
        assert token.top_logprobs[0].logprob >= token.top_logprobs[1].logprob


def test_an_answer_follows_a_schema(client):
    schema = {
        "type": "object",
        "properties": {"colour": {"enum": ["red", "green"]}, "bright": {"type": "boolean"}},
        "required": ["colour", "bright"],
        "additionalProperties": False,
    }
    answer = client.chat.completions.create(
        model=MODEL, messages=QUESTION, max_tokens=64, temperature=0,
        response_format={"type": "json_schema", "json_schema": {"name": "pick", "schema": schema, "strict": True}},
    )
    value = json.loads(answer.choices[0].message.content)
    assert value["colour"] in ("red", "green") and isinstance(value["bright"], bool) and len(value) == 2


def test_a_text_is_completed(client):
    answer = client.completions.create(model=MODEL, prompt="One, two, three,", max_tokens=8, temperature=0)
    assert answer.object == "text_completion"
    assert answer.choices[0].text
    parts = client.completions.create(model=MODEL, prompt="One, two, three,", max_tokens=8, temperature=0, stream=True)
    assert "".join(choice.text for part in parts for choice in part.choices) == answer.choices[0].text


def test_texts_are_embedded(client):
    answer = client.embeddings.create(model=MODEL, input=["a cat", "a kitten", "tax law"])
    vectors = [row.embedding for row in answer.data]
    assert [row.index for row in answer.data] == [0, 1, 2]
    assert len({len(vector) for vector in vectors}) == 1
    assert all(abs(sum(x * x for x in vector) - 1) < 1e-3 for vector in vectors), "unit length"
    assert answer.usage.prompt_tokens > 0
    again = client.embeddings.create(model=MODEL, input="a cat", encoding_format="float").data[0].embedding
    assert max(abs(a - b) for a, b in zip(again, vectors[0])) < 1e-3


def test_models_are_listed_and_found(client):
    listed = {model.id for model in client.models.list()}
    assert {MODEL, "dummy"} <= listed or MODEL in listed
    assert client.models.retrieve(MODEL).id == MODEL


def test_dummy_says_hello_world(client):
    answer = client.chat.completions.create(model="dummy", messages=QUESTION)
    assert answer.choices[0].message.content == "Hello world"
    parts = client.chat.completions.create(model="dummy", messages=QUESTION, stream=True)
    assert "".join(choice.delta.content or "" for part in parts for choice in part.choices) == "Hello world"


def test_paths_work_without_their_version(house, client):
    bare = client.with_options(base_url=house.url)
    assert bare.chat.completions.create(model="dummy", messages=QUESTION).choices[0].message.content == "Hello world"
    assert MODEL in {model.id for model in bare.models.list()}
    assert bare.embeddings.create(model=MODEL, input="a cat").data[0].embedding


def test_an_unknown_model_is_not_found(client):
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="no-such-model", messages=QUESTION)
    assert caught.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("no-such-model")


def test_a_wrong_key_is_refused(client):
    with pytest.raises(openai.AuthenticationError) as caught:
        client.with_options(api_key="sk_wrong").chat.completions.create(model="dummy", messages=QUESTION)
    assert caught.value.code == "invalid_api_key"


def test_a_wrong_type_names_the_field(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=MODEL, messages=QUESTION, temperature="hot")
    assert caught.value.code == "invalid_request"
    assert "temperature" in (caught.value.param or "") + str(caught.value)


def test_a_prompt_beyond_the_context_is_refused(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "word " * 9000}])
    assert caught.value.code == "context_length_exceeded"


def test_a_client_that_leaves_does_not_disturb_the_next(client):
    stream = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "Tell a long story."}], max_tokens=2000, stream=True)
    next(iter(stream))
    stream.close()
    assert client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=4).choices[0].message.content is not None


def test_many_at_once_are_all_answered(client):
    from concurrent.futures import ThreadPoolExecutor

    def ask(number):
        messages = [{"role": "user", "content": f"Say something about the number {number}."}]
        return client.chat.completions.create(model=MODEL, messages=messages, max_tokens=8, temperature=0).choices[0].message.content

    with ThreadPoolExecutor(12) as pool:
        together = list(pool.map(ask, range(12)))
    assert all(together)
    # Batches of other shapes round differently, which turns near ties, and a model this small has many; answers that took in their
    # neighbours' words would all be others.
    alike = sum(answer == ask(number) for number, answer in enumerate(together))
    assert alike >= 4, "answers do not depend on their neighbours"


def test_request_ids_come_back(client):
    answer = client.with_options(default_headers={"x-request-id": "a-test-of-mine"}).chat.completions.with_raw_response.create(
        model="dummy", messages=QUESTION
    )
    assert answer.headers["x-request-id"] == "a-test-of-mine"
    assert client.chat.completions.with_raw_response.create(model="dummy", messages=QUESTION).headers["x-request-id"]


def test_the_key_of_this_suite_is_not_upstreams(house):
    assert house.get("/v1/models", key=None).status == 401
    assert house.get("/v1/models", key=KEY).status == 200
