//! Sorts the answers to one task into clusters of the same meaning (algorithm.md sections 2 and 8).

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;

use crate::AnswerError;
use crate::normal::normalise;
use crate::verdict::{Verdict, compare_normal};

/// Decides pairs that text and exact arithmetic cannot decide.
#[async_trait]
pub trait Judge: Send + Sync {
    /// For each pair of normal forms, whether they mean the same; `None` when no verdict was reached in time. The verdict on
    /// a pair depends on nothing but the pair.
    ///
    /// # Errors
    /// When the judge itself does not work; never because of what a pair holds.
    async fn same(&self, pairs: &[(String, String)]) -> Result<Vec<Option<bool>>, AnswerError>;
}

/// How some answers fall into clusters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Clusters {
    /// For each answer, the number of its cluster; `None` where there is no answer. Clusters are numbered from the largest to
    /// the smallest, equal ones by their earliest answer: cluster 0 is the majority.
    pub labels: Vec<Option<usize>>,
    /// Size of each cluster.
    pub sizes: Vec<usize>,
    /// For each cluster, the answer that represents it: the earliest of its most frequent form.
    pub representatives: Vec<usize>,
    /// Comparisons on which the judge gave no verdict; they count as different.
    pub undecided: usize,
}

/// A verdict on two answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Whether they mean the same.
    pub same: bool,
    /// What decided.
    pub by: By,
}

/// What decided on two answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// Their normal forms are the same text.
    Text,
    /// Both are exact numbers.
    Number,
    /// The judge.
    Judge,
    /// Nobody: there is no judge, or it came to no verdict in time. They count as different.
    Nobody,
}

/// Compares answers: by text and exact numbers first, then by its judge.
#[derive(Clone, Default)]
pub struct Grader {
    judge: Option<Arc<dyn Judge>>,
}

/// Answers with one normal form, ascending.
struct Form {
    normal: String,
    answers: Vec<usize>,
}

/// Answers that are the same as their representative.
struct Cluster {
    representative: usize,
    answers: Vec<usize>,
}

impl Grader {
    /// A grader that asks `judge` where text and numbers do not decide. Without one, what is not decided is different.
    pub fn new(judge: Option<Arc<dyn Judge>>) -> Self {
        Self { judge }
    }

    /// Whether two answers mean the same, and what decided that.
    ///
    /// # Errors
    /// When the judge does not work.
    pub async fn same(&self, a: &str, b: &str) -> Result<Decision, AnswerError> {
        let (a, b) = (normalise(a), normalise(b));
        let fast = |same| Decision { same, by: if a == b { By::Text } else { By::Number } };
        match (compare_normal(&a, &b), &self.judge) {
            (Verdict::Same, _) => Ok(fast(true)),
            (Verdict::Different, _) => Ok(fast(false)),
            (Verdict::Ask, None) => Ok(Decision { same: false, by: By::Nobody }),
            (Verdict::Ask, Some(judge)) => {
                let verdict = judge.same(&[(a, b)]).await?.into_iter().next().flatten();
                let by = if verdict.is_some() { By::Judge } else { By::Nobody };
                Ok(Decision { same: verdict.unwrap_or(false), by })
            }
        }
    }

    /// Clusters the answers to one task. The outcome depends on the answers and their order only, not on timing.
    ///
    /// The relation is not transitive, so the order of comparisons is fixed: the most frequent form (of equals the earliest)
    /// represents a cluster and takes in every form that is the same as itself; then the next of those left; and so on.
    /// Blank answers are no answers.
    ///
    /// # Errors
    /// When the judge does not work.
    pub async fn cluster(&self, answers: &[Option<String>]) -> Result<Clusters, AnswerError> {
        let mut rest = forms(answers);
        let mut clusters: Vec<Cluster> = Vec::new();
        let mut undecided = 0;
        while !rest.is_empty() {
            let leader = rest.remove(0);
            let others: Vec<&str> = rest.iter().map(|form| form.normal.as_str()).collect();
            let (verdicts, without) = self.compare(&leader.normal, &others).await?;
            undecided += without;
            let mut cluster = Cluster { representative: leader.answers[0], answers: leader.answers };
            let mut left = Vec::new();
            for (form, same) in rest.into_iter().zip(verdicts) {
                if same { cluster.answers.extend(form.answers) } else { left.push(form) }
            }
            cluster.answers.sort_unstable();
            clusters.push(cluster);
            rest = left;
        }
        clusters.sort_by_key(|cluster| (std::cmp::Reverse(cluster.answers.len()), cluster.answers[0]));
        let mut labels = vec![None; answers.len()];
        for (label, cluster) in clusters.iter().enumerate() {
            cluster.answers.iter().for_each(|&answer| labels[answer] = Some(label));
        }
        let sizes = clusters.iter().map(|cluster| cluster.answers.len()).collect();
        let representatives = clusters.iter().map(|cluster| cluster.representative).collect();
        Ok(Clusters { labels, sizes, representatives, undecided })
    }

    /// For each of `others`, whether it is the same as `leader`; and how many the judge left undecided. One question to the
    /// judge for all of them.
    async fn compare(&self, leader: &str, others: &[&str]) -> Result<(Vec<bool>, usize), AnswerError> {
        let fast: Vec<Verdict> = others.iter().map(|other| compare_normal(leader, other)).collect();
        let open = others.iter().zip(&fast).filter(|(_, verdict)| **verdict == Verdict::Ask);
        let pairs: Vec<(String, String)> = open.map(|(other, _)| (leader.to_string(), other.to_string())).collect();
        let judged = match &self.judge {
            Some(judge) if !pairs.is_empty() => judge.same(&pairs).await?,
            _ => vec![Some(false); pairs.len()],
        };
        let undecided = judged.iter().filter(|verdict| verdict.is_none()).count();
        let mut judged = judged.into_iter();
        let verdicts = fast.into_iter().map(|verdict| match verdict {
            Verdict::Same => true,
            Verdict::Different => false,
            Verdict::Ask => judged.next().flatten().unwrap_or(false),
        });
        Ok((verdicts.collect(), undecided))
    }
}

/// The distinct normal forms of the answers that are not blank, the most frequent first, of equals the earliest.
fn forms(answers: &[Option<String>]) -> Vec<Form> {
    let mut forms: Vec<Form> = Vec::new();
    let mut known: HashMap<String, usize> = HashMap::new();
    for (i, answer) in answers.iter().enumerate() {
        let Some(normal) = answer.as_deref().map(normalise).filter(|normal| !normal.is_empty()) else { continue };
        let form = *known.entry(normal.clone()).or_insert_with(|| {
            forms.push(Form { normal, answers: Vec::new() });
            forms.len() - 1
        });
        forms[form].answers.push(i);
    }
    forms.sort_by_key(|form| std::cmp::Reverse(form.answers.len()));
    forms
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::time::Duration;

    /// A judge with a list of pairs that are the same and of pairs it has no verdict on.
    #[derive(Default)]
    struct Scripted {
        same: Vec<(&'static str, &'static str)>,
        hangs: Vec<(&'static str, &'static str)>,
        asked: Mutex<Vec<Vec<(String, String)>>>,
        delay: Duration,
    }

    #[async_trait]
    impl Judge for Scripted {
        async fn same(&self, pairs: &[(String, String)]) -> Result<Vec<Option<bool>>, AnswerError> {
            tokio::time::sleep(self.delay).await;
            self.asked.lock().unwrap().push(pairs.to_vec());
            let listed = |list: &[(&str, &str)], a: &str, b: &str| list.iter().any(|&(x, y)| (x, y) == (a, b) || (y, x) == (a, b));
            Ok(pairs.iter().map(|(a, b)| (!listed(&self.hangs, a, b)).then(|| listed(&self.same, a, b))).collect())
        }
    }

    fn answers(list: &[&str]) -> Vec<Option<String>> {
        list.iter().map(|a| (*a != "-").then(|| a.to_string())).collect()
    }

    #[tokio::test]
    async fn equal_numbers_vote_together_without_a_judge() {
        let clusters = Grader::new(None).cluster(&answers(&["7", "0.5", "-", "\\frac12", " ", "$\\dfrac{1}{2}$", "8"])).await.unwrap();
        assert_eq!(clusters.labels, [Some(1), Some(0), None, Some(0), None, Some(0), Some(2)]);
        assert_eq!((clusters.sizes, clusters.undecided), (vec![3, 1, 1], 0));
    }

    #[tokio::test]
    async fn each_round_asks_once_and_only_what_is_open() {
        let judge = Arc::new(Scripted { same: vec![("x+1", "1+x"), ("y", "z")], ..Default::default() });
        let grader = Grader::new(Some(judge.clone()));
        let clusters = grader.cluster(&answers(&["y", "x+1", "1+x", "x + 1", "z", "3"])).await.unwrap();
        assert_eq!(clusters.labels, [Some(1), Some(0), Some(0), Some(0), Some(1), Some(2)]);
        assert_eq!(clusters.representatives, [1, 0, 5]);
        let asked = judge.asked.lock().unwrap();
        let pair = |a: &str, b: &str| (a.to_string(), b.to_string());
        assert_eq!(asked[0], [pair("x+1", "y"), pair("x+1", "1+x"), pair("x+1", "z"), pair("x+1", "3")]);
        assert_eq!(asked[1], [pair("y", "z"), pair("y", "3")]);
        assert_eq!(asked.len(), 2, "the last cluster has nobody to be compared with");
    }

    #[tokio::test]
    async fn where_the_relation_is_not_transitive_the_larger_cluster_decides() {
        let judge = || Arc::new(Scripted { same: vec![("50%", "50"), ("50%", "0.5")], ..Default::default() });
        let more_50 = Grader::new(Some(judge())).cluster(&answers(&["0.5", "50", "50%", "50"])).await.unwrap();
        assert_eq!(more_50.labels, [Some(1), Some(0), Some(0), Some(0)]);
        assert_eq!(more_50.representatives, [1, 0]);
        let more_percent = Grader::new(Some(judge())).cluster(&answers(&["0.5", "50", "50%", "50%"])).await.unwrap();
        assert_eq!(more_percent.labels, [Some(0); 4]);
        assert_eq!(more_percent.representatives, [2], "what all four were compared with, though others came earlier");
    }

    #[tokio::test]
    async fn undecided_pairs_are_different_and_counted() {
        let judge = Scripted { hangs: vec![("a", "b"), ("b", "c")], ..Default::default() };
        let clusters = Grader::new(Some(Arc::new(judge))).cluster(&answers(&["a", "b", "c"])).await.unwrap();
        assert_eq!((clusters.labels, clusters.undecided), (vec![Some(0), Some(1), Some(2)], 2));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn timing_does_not_show() {
        let task = answers(&["x", "y", "x+0", "-", "2", "2.0", "y", "50%"]);
        let mut outcomes = Vec::new();
        for delays in [[0, 20, 5], [20, 0, 5], [5, 5, 0]] {
            let mut running = Vec::new();
            for delay in delays {
                let judge = Scripted { same: vec![("x", "x+0")], delay: Duration::from_millis(delay), ..Default::default() };
                let (grader, task) = (Grader::new(Some(Arc::new(judge))), task.clone());
                running.push(tokio::spawn(async move { grader.cluster(&task).await.unwrap() }));
            }
            for handle in running {
                outcomes.push(handle.await.unwrap());
            }
        }
        assert!(outcomes.windows(2).all(|w| w[0] == w[1]));
        assert_eq!(outcomes[0].labels, [Some(0), Some(1), Some(0), None, Some(2), Some(2), Some(1), Some(3)]);
    }

    #[tokio::test]
    async fn two_answers_alone() {
        let grader = Grader::new(Some(Arc::new(Scripted { same: vec![("x=5", "5")], ..Default::default() })));
        let decision = async |a, b| {
            let Decision { same, by } = grader.same(a, b).await.unwrap();
            (same, by)
        };
        assert_eq!(decision("$5$", "5").await, (true, By::Text));
        assert_eq!(decision("5", "5.0").await, (true, By::Number));
        assert_eq!(decision("5", "6").await, (false, By::Number));
        assert_eq!(decision("x = 5", "5").await, (true, By::Judge));
        assert_eq!(decision("x = 5", "6").await, (false, By::Judge));
        assert_eq!(Grader::new(None).same("x", "y").await.unwrap(), Decision { same: false, by: By::Nobody });
    }
}
