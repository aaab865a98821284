"""What transformers says of a model: run by the Python of the converter's environment, which has torch.

    python reference.py FOLDER KIND < {"texts" or "tokens": […]} > {"tokens": […], "vectors": […], "next": […]}

Vectors are means over the last hidden states, of length 1, as a node makes them; `next` are log-probabilities of the token that follows.
"""

import json
import sys

import torch
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer


def main(folder, kind):
    asked = json.load(sys.stdin)
    torch.set_num_threads(1)
    tokens = asked.get("tokens") or [AutoTokenizer.from_pretrained(folder)(text)["input_ids"] for text in asked["texts"]]
    if kind == "causal":
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        body = model.base_model
    else:
        model, body = None, AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    vectors, following = [], []
    with torch.no_grad():
        for ids in tokens:
            hidden = body(input_ids=torch.tensor([ids])).last_hidden_state[0]
            vectors.append(torch.nn.functional.normalize(hidden.mean(0), dim=0).tolist())
            if model:
                following.append(torch.log_softmax(model(input_ids=torch.tensor([ids])).logits[0, -1], 0).tolist())
    json.dump({"tokens": tokens, "vectors": vectors, "next": following}, sys.stdout)


main(*sys.argv[1:])
