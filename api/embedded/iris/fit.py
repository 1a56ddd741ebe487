"""Fit the embedded iris classifier: a multinomial logistic regression.

    python3 -m venv ~/iris-venv && ~/iris-venv/bin/pip install -r requirements.txt
    ~/iris-venv/bin/python fit.py

Writes three files beside this script:
  data.csv     R. A. Fisher's measurements (1936, "The use of multiple
               measurements in taxonomic problems", table I), in the public domain
  iris.json    what the Go program embeds: names, value ranges, coefficients
  golden.json  a few rows with scikit-learn's own answer, for the Go test
"""

import csv
import json
import pathlib

from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

here = pathlib.Path(__file__).parent
iris = load_iris()
features = [name.removesuffix(" (cm)").replace(" ", "_") for name in iris.feature_names]
classes = [str(name) for name in iris.target_names]

with open(here / "data.csv", "w", newline="") as f:
    out = csv.writer(f, lineterminator="\n")
    out.writerow([*features, "species"])
    for row, target in zip(iris.data, iris.target):
        out.writerow([*row.tolist(), classes[target]])

model = LogisticRegression(C=10, tol=1e-10, max_iter=10_000).fit(iris.data, iris.target)


def write(name, value):
    (here / name).write_text(json.dumps(value, indent=1) + "\n")


write("iris.json", {
    "features": features,
    "unit": "cm",
    "min": iris.data.min(axis=0).tolist(),
    "max": iris.data.max(axis=0).tolist(),
    "classes": classes,
    "coefficients": model.coef_.tolist(),
    "intercepts": model.intercept_.tolist(),
})

# Rows of each species, the rows that the model gets wrong, and two outside
# the range of the data: zeros, and a flower large enough to overflow a naive
# softmax.
wrong = [i for i, p in enumerate(model.predict(iris.data)) if p != iris.target[i]]
rows = [iris.data[i].tolist() for i in sorted({0, 41, 50, 77, 100, 149, *wrong})]
rows += [[0.0, 0.0, 0.0, 0.0], [1e5, -1e5, 1e5, 1e5]]
write("golden.json", [
    {"row": row, "label": classes[label], "probabilities": p.tolist()}
    for row, label, p in zip(rows, model.predict(rows), model.predict_proba(rows))
])
print(f"accuracy on all {len(iris.target)} rows: {model.score(iris.data, iris.target):.4f}")
