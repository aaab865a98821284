//! Log-probabilities from raw logits, before any sampling filter.

use std::cmp::Ordering;

use crate::scheduler::Token;

/// Most alternatives that can be asked for.
pub const TOP_MAX: u8 = 20;

/// The chosen token's log-probability, and the likeliest tokens with theirs, best first (at most `top`).
///
/// Natural logarithms. `chosen` outside of `logits` has negative infinity.
pub fn chances(logits: &[f32], chosen: Token, top: u8) -> (f32, Vec<(Token, f32)>) {
    let norm = log_sum_exp(logits);
    let of = |logit: f32| (f64::from(logit) - norm) as f32;
    let chosen = usize::try_from(chosen).ok().and_then(|id| logits.get(id)).map_or(f32::NEG_INFINITY, |&logit| of(logit));
    let mut best: Vec<(Token, f32)> = Vec::with_capacity(usize::from(top) + 1);
    for (id, &logit) in logits.iter().enumerate() {
        if top == 0 || (best.len() == usize::from(top) && best.last().is_some_and(|&(_, worst)| logit <= worst)) {
            continue;
        }
        let place = best.partition_point(|&(_, other)| other.partial_cmp(&logit).is_some_and(Ordering::is_ge));
        best.insert(place, (id as Token, logit));
        best.truncate(usize::from(top));
    }
    (chosen, best.into_iter().map(|(id, logit)| (id, of(logit))).collect())
}

fn log_sum_exp(logits: &[f32]) -> f64 {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&logit| f64::from(logit - most).exp()).sum();
    f64::from(most) + sum.ln()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn equal_logits_are_equally_likely() {
        let (chosen, top) = chances(&[1.0; 4], 2, 2);
        assert!((chosen - 0.25_f32.ln()).abs() < 1e-6);
        assert_eq!(top.iter().map(|&(id, _)| id).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(chances(&[1.0; 4], 9, 0), (f32::NEG_INFINITY, vec![]));
    }

    proptest! {
        #[test]
        fn probabilities_sum_to_one_and_come_best_first(logits in prop::collection::vec(-30.0_f32..30.0, 1..20), pick in any::<prop::sample::Index>()) {
            let chosen = pick.index(logits.len()) as Token;
            let (chance, top) = chances(&logits, chosen, TOP_MAX);
            let sum: f64 = top.iter().map(|&(_, p)| f64::from(p).exp()).sum();
            prop_assert!((sum - 1.0).abs() < 1e-4, "{sum}");
            prop_assert!(top.is_sorted_by(|a, b| a.1 >= b.1));
            let listed = top.iter().find(|&&(id, _)| id == chosen).expect("all are listed").1;
            prop_assert!((listed - chance).abs() < 1e-6);
            let (_, three) = chances(&logits, chosen, 3);
            prop_assert_eq!(&three[..], &top[..top.len().min(3)]);
        }
    }
}
