"""Clusters texts with nltk and scikit-learn: average linkage at 0.5 over 1 - sentence BLEU-4.

The text with the lower index is the hypothesis, the other the reference; smoothing is NLTK's method 1.
"""

import argparse
import json
import time

import numpy
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
from sklearn.cluster import AgglomerativeClustering


def distances(texts: list[str]) -> numpy.ndarray:
    """`[texts, texts]`, symmetric."""
    words, smooth = [text.split() for text in texts], SmoothingFunction().method1
    matrix = numpy.zeros((len(texts), len(texts)))
    for i, hypothesis in enumerate(words):
        for j in range(i + 1, len(words)):
            matrix[i, j] = matrix[j, i] = 1 - sentence_bleu([words[j]], hypothesis, smoothing_function=smooth)
    return matrix


def cluster(matrix: numpy.ndarray) -> list[int]:
    """The cluster of each text, of two or more."""
    clustering = AgglomerativeClustering(n_clusters=None, distance_threshold=0.5, metric="precomputed", linkage="average")
    return clustering.fit_predict(matrix).tolist()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--texts", required=True, help="a file with one JSON string a line")
    with open(options.parse_args().texts) as file:
        texts = [json.loads(line) for line in file]
    began = time.perf_counter()
    matrix = distances(texts)
    measured = time.perf_counter()
    labels = cluster(matrix)
    done = time.perf_counter()
    print(json.dumps({"seconds": done - began, "distance_s": measured - began, "cluster_s": done - measured, "labels": labels}))


if __name__ == "__main__":
    main()
