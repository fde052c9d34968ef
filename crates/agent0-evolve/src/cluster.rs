//! Which tasks of a batch say the same in other words: agglomerative clustering with average linkage on
//! `1 - BLEU4` (algorithm.md section 3). The partition is scikit-learn's, ties included.

use crate::bleu::Batch;

/// Texts whose clusters are nearer than this are one cluster.
pub const THRESHOLD: f64 = 0.5;

/// Cluster of each text, numbered by first appearance. The distance of texts `i < j` is `1 - BLEU4` with `i` as
/// hypothesis and `j` as reference.
pub fn cluster_texts(texts: &[&str], threshold: f64) -> Vec<usize> {
    let batch = Batch::new(texts);
    let upper = (0..batch.len()).flat_map(|i| batch.bleu4_of_later(i)).map(|bleu| 1.0 - bleu).collect();
    average_linkage(Distances { n: batch.len(), upper }, threshold)
}

/// A symmetric matrix without its diagonal: the rows of the upper triangle one after the other.
struct Distances {
    n: usize,
    upper: Vec<f64>,
}

impl Distances {
    fn at(&self, i: usize, j: usize) -> usize {
        let (i, j) = (i.min(j), i.max(j));
        i * (2 * self.n - i - 1) / 2 + j - i - 1
    }

    fn get(&self, i: usize, j: usize) -> f64 {
        self.upper[self.at(i, j)]
    }

    fn set(&mut self, i: usize, j: usize, distance: f64) {
        let at = self.at(i, j);
        self.upper[at] = distance;
    }
}

/// Cuts the tree of average-linkage merges at `threshold` and labels what hangs together, in O(n^2).
///
/// Follows chains of nearest neighbours until two clusters are each other's nearest, and merges those. Where several
/// are equally near, the previous cluster of the chain is taken, else the one of lowest index, and a merged cluster
/// keeps the higher of its two indices: the choices of SciPy's `linkage`, on which scikit-learn's labels depend.
fn average_linkage(mut distances: Distances, threshold: f64) -> Vec<usize> {
    let n = distances.n;
    let mut size = vec![1usize; n];
    let mut group: Vec<usize> = (0..n).collect();
    let mut chain = Vec::with_capacity(n);
    for _ in 1..n {
        let (a, b, distance) = nearest_pair(&distances, &size, &mut chain);
        let (gone, kept) = (a.min(b), a.max(b));
        if distance < threshold {
            let root = find(&mut group, gone);
            group[root] = find(&mut group, kept);
        }
        let (size_gone, size_kept) = (size[gone] as f64, size[kept] as f64);
        size[kept] += size[gone];
        size[gone] = 0;
        for other in (0..n).filter(|&other| size[other] > 0 && other != kept) {
            let sum = size_gone * distances.get(gone, other) + size_kept * distances.get(kept, other);
            distances.set(kept, other, sum / (size_gone + size_kept));
        }
    }
    labels(&mut group)
}

/// Two clusters that are each other's nearest, and their distance. `chain` is what is left of the last chain.
fn nearest_pair(distances: &Distances, size: &[usize], chain: &mut Vec<usize>) -> (usize, usize, f64) {
    if chain.is_empty() {
        chain.extend((0..size.len()).find(|&i| size[i] > 0));
    }
    loop {
        let end = chain[chain.len() - 1];
        let previous = chain.len().checked_sub(2).map(|at| chain[at]);
        let (mut nearest, mut distance) = previous.map_or((end, f64::INFINITY), |previous| (previous, distances.get(end, previous)));
        for other in (0..size.len()).filter(|&other| size[other] > 0 && other != end) {
            let candidate = distances.get(end, other);
            if candidate < distance {
                (nearest, distance) = (other, candidate);
            }
        }
        if previous == Some(nearest) {
            chain.truncate(chain.len() - 2);
            return (end, nearest, distance);
        }
        chain.push(nearest);
    }
}

/// Root of `i` in the forest `group`, flattening the path.
fn find(group: &mut [usize], mut i: usize) -> usize {
    while group[i] != i {
        group[i] = group[group[i]];
        i = group[i];
    }
    i
}

/// Numbers the trees of the forest by their first member.
fn labels(group: &mut [usize]) -> Vec<usize> {
    let n = group.len();
    let mut label_of_root = vec![usize::MAX; n];
    let mut next = 0;
    (0..n)
        .map(|i| {
            let root = find(group, i);
            if label_of_root[root] == usize::MAX {
                label_of_root[root] = next;
                next += 1;
            }
            label_of_root[root]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct Fixture {
        matrices: Vec<Matrix>,
    }

    #[derive(serde::Deserialize)]
    struct Matrix {
        n: usize,
        upper: Vec<f64>,
        labels: Vec<usize>,
    }

    #[test]
    fn matrices_full_of_ties_are_cut_as_scikit_learn_does() {
        let fixture: Fixture = serde_json::from_str(include_str!("../tests/fixtures/text_parity.json")).unwrap();
        assert!(fixture.matrices.len() >= 32);
        for Matrix { n, upper, labels } in fixture.matrices {
            assert_eq!(average_linkage(Distances { n, upper }, 0.5), labels);
        }
    }

    #[test]
    fn small_batches() {
        assert!(cluster_texts(&[], THRESHOLD).is_empty());
        assert_eq!(cluster_texts(&["x"], THRESHOLD), [0]);
        assert_eq!(cluster_texts(&["a b c d", "e f g h", "a b c d"], THRESHOLD), [0, 1, 0]);
    }
}
