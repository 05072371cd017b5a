//! How alike two maps are: Spearman's rank correlation, and the overlap of their strongest places.
//! Errors: none; lengths are asserted. Ties share their mean rank. Source: Spearman 1904; Jaccard 1912.

/// Ranks from 0, ties with their mean.
fn ranks(values: &[f32]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut from = 0;
    while from < order.len() {
        let mut to = from + 1;
        while to < order.len() && values[order[to]].total_cmp(&values[order[from]]).is_eq() {
            to += 1;
        }
        let mean = (from + to - 1) as f64 / 2.0;
        order[from..to].iter().for_each(|&at| ranks[at] = mean);
        from = to;
    }
    ranks
}

/// Spearman's rank correlation; 0 where one of the maps has one value everywhere.
#[must_use]
pub fn rank_correlation(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len(), "both maps cover the same places");
    let (a, b) = (ranks(a), ranks(b));
    let mean = (a.len().max(1) - 1) as f64 / 2.0;
    let (mut both, mut left, mut right) = (0.0, 0.0, 0.0);
    for (x, y) in a.iter().zip(&b) {
        both += (x - mean) * (y - mean);
        left += (x - mean) * (x - mean);
        right += (y - mean) * (y - mean);
    }
    if left > 0.0 && right > 0.0 { both / (left * right).sqrt() } else { 0.0 }
}

/// Places in both maps' strongest share, by places in either.
#[must_use]
pub fn top_overlap(a: &[f32], b: &[f32], share: f64) -> f64 {
    assert_eq!(a.len(), b.len(), "both maps cover the same places");
    let count = ((a.len() as f64 * share).round() as usize).clamp(1, a.len().max(1));
    let top = |values: &[f32]| {
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by(|&x, &y| values[y].total_cmp(&values[x]).then(x.cmp(&y)));
        order.truncate(count);
        order.into_iter().collect::<std::collections::BTreeSet<_>>()
    };
    let (a, b) = (top(a), top(b));
    a.intersection(&b).count() as f64 / a.union(&b).count().max(1) as f64
}
