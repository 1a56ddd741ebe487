"""A model for MLServer: the species of irises, by the nearest mean."""

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.errors import InferenceError
from mlserver.types import InferenceRequest, InferenceResponse

# Fisher's means of sepal length and width, petal length and width, in cm.
MEANS = {
    "setosa": (5.006, 3.428, 1.462, 0.246),
    "versicolor": (5.936, 2.770, 4.260, 1.326),
    "virginica": (6.588, 2.974, 5.552, 2.026),
}


class NearestMean(MLModel):
    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        flowers = self.decode(payload.inputs[0], default_codec=NumpyCodec)
        if flowers.ndim != 2 or flowers.shape[1] != 4:
            raise InferenceError(f"the input has the shape {list(flowers.shape)}, want [n, 4]")
        distances = np.linalg.norm(flowers[:, None, :] - np.array(list(MEANS.values())), axis=2)
        species = [list(MEANS)[i] for i in distances.argmin(axis=1)]
        return InferenceResponse(
            model_name=self.name,
            outputs=[
                StringCodec.encode_output("species", species),
                NumpyCodec.encode_output("distances", distances),
            ],
        )
