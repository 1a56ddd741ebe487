"""A model for MLflow: how likely customers leave, by the years that they have stayed."""

import mlflow


class Churn(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return [1 / (1 + years) for years in model_input["years"]]


mlflow.models.set_model(Churn())
