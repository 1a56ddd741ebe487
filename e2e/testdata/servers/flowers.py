"""A model for KServe's server: the species of irises, by the nearest mean.

usage: python flowers.py PORT
"""

import asyncio
import sys

port = int(sys.argv.pop())  # kserve reads the command line at its import

import numpy as np
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer
from kserve.errors import InvalidInput
from kserve.protocol.rest.server import RESTServer

# Fisher's means of sepal length and width, petal length and width, in cm.
MEANS = {
    "setosa": (5.006, 3.428, 1.462, 0.246),
    "versicolor": (5.936, 2.770, 4.260, 1.326),
    "virginica": (6.588, 2.974, 5.552, 2.026),
}


class Flowers(Model):
    def load(self):
        self.ready = True
        return self.ready

    async def get_input_types(self):
        return [{"name": "input", "datatype": "FP64", "shape": [-1, 4]}]

    async def get_output_types(self):
        return [
            {"name": "species", "datatype": "BYTES", "shape": [-1, 1]},
            {"name": "distances", "datatype": "FP64", "shape": [-1, 3]},
        ]

    def predict(self, payload: InferRequest, headers=None, response_headers=None):
        flowers = payload.inputs[0].as_numpy()
        if flowers.ndim != 2 or flowers.shape[1] != 4:
            raise InvalidInput(f"the input has the shape {list(flowers.shape)}, want [n, 4]")
        means = np.array(list(MEANS.values()))
        distances = np.linalg.norm(flowers[:, None, :] - means, axis=2)
        species = np.array([[list(MEANS)[i].encode()] for i in distances.argmin(axis=1)], dtype=object)
        outputs = []
        for name, datatype, values in ("species", "BYTES", species), ("distances", "FP64", distances):
            wanted = [o for o in payload.request_outputs or [] if o.name == name]
            if payload.request_outputs and not wanted:
                continue
            output = InferOutput(name, list(values.shape), datatype)
            output.set_data_from_numpy(values, binary_data=bool(wanted and wanted[0].binary_data))
            outputs.append(output)
        return InferResponse(response_id=payload.id, model_name=self.name, infer_outputs=outputs)


model = Flowers("flowers")
model.load()
server = ModelServer(enable_grpc=False)
server.register_model(model)
rest = RESTServer("kserve.model_server:app", server.dataplane, server.model_repository_extension, port)
rest.config.host = "127.0.0.1"  # ModelServer.start would listen on every interface
asyncio.run(rest.start())
