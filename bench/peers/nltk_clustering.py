"""Clusters texts with nltk and scikit-learn: average linkage at 0.5 over 1 - sentence BLEU-4.

The text with the lower index is the hypothesis, the other the reference; smoothing is NLTK's method 1.
"""

import argparse
import json
import time

import numpy
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
from sklearn.cluster import AgglomerativeClustering

options = argparse.ArgumentParser(description=__doc__)
options.add_argument("--texts", required=True, help="a file with one JSON string a line")
chosen = options.parse_args()
with open(chosen.texts) as file:
    texts = [json.loads(line).split() for line in file]

began = time.perf_counter()
smooth = SmoothingFunction().method1
distances = numpy.zeros((len(texts), len(texts)))
for i, hypothesis in enumerate(texts):
    for j in range(i + 1, len(texts)):
        distances[i, j] = distances[j, i] = 1 - sentence_bleu([texts[j]], hypothesis, smoothing_function=smooth)
measured = time.perf_counter()
labels = AgglomerativeClustering(n_clusters=None, distance_threshold=0.5, metric="precomputed", linkage="average").fit_predict(distances)
done = time.perf_counter()
print(json.dumps({"seconds": done - began, "distance_s": measured - began, "cluster_s": done - measured, "labels": labels.tolist()}))
