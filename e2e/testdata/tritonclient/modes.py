"""Ask a model of iris flowers in each way that tritonclient has.

usage: modes.py HOST:PORT MODEL OUTPUT [VERSION], with an access token in TOKEN if one is needed.
Prints a JSON object: for each mode what came, or why nothing did.
"""

import json
import os
import sys

import numpy as np
import tritonclient.http as triton

headers = {"Authorization": "Bearer " + os.environ["TOKEN"]} if os.environ.get("TOKEN") else {}
client = triton.InferenceServerClient(sys.argv[1])
model, output = sys.argv[2:4]
version = "".join(sys.argv[4:])
flowers = np.array([[5.1, 3.5, 1.4, 0.2], [6.3, 3.3, 6.0, 2.5]])


# The client adds to the headers that it gets, so that each request has its own.
def infer(binary_in, outputs, **compression):
    tensor = triton.InferInput("input", list(flowers.shape), "FP64")
    tensor.set_data_from_numpy(flowers, binary_data=binary_in)
    requested = None
    if outputs is not None:
        requested = [triton.InferRequestedOutput(output, binary_data=outputs)]
    # A copy, since the client adds to it what the next call would send again.
    result = client.infer(model, [tensor], version, outputs=requested, request_id="two", headers=dict(headers), **compression)
    return [round(float(d), 6) for d in result.as_numpy(output).flatten()]


modes = {
    "server live": lambda: client.is_server_live(headers=headers),
    "server ready": lambda: client.is_server_ready(headers=headers),
    "model ready": lambda: client.is_model_ready(model, version, headers=headers),
    "model metadata": lambda: client.get_model_metadata(model, version, headers=headers),
    "repository index": lambda: sorted(m["name"] for m in client.get_model_repository_index(headers=headers)),
    "JSON in and out": lambda: infer(False, False),
    "JSON in, binary out": lambda: infer(False, True),
    "binary in, JSON out": lambda: infer(True, False),
    "binary in and out": lambda: infer(True, True),
    "every output": lambda: infer(False, None),
    "gzip in": lambda: infer(False, False, request_compression_algorithm="gzip"),
    "deflate in": lambda: infer(False, False, request_compression_algorithm="deflate"),
    "gzip out": lambda: infer(False, False, response_compression_algorithm="gzip"),
}
answers = {}
for name, ask in modes.items():
    try:
        answers[name] = {"came": ask()}
    except Exception as e:
        answers[name] = {"failed": f"{type(e).__name__}: {e}"[:300]}
json.dump(answers, sys.stdout)
