//! What a model takes, by the generation that its name tells (Claude docs, "Adaptive thinking", "Migration guide").

/// Until then thinking has a budget; from then on it is adaptive, with an effort.
const ADAPTIVE: (u32, u32) = (4, 6);

/// From then on a budget of thinking and a steered sampling are refused.
const ADAPTIVE_ONLY: (u32, u32) = (4, 7);

/// Models that cannot leave thinking.
const ALWAYS_THINKING: [&str; 2] = ["mythos", "fable"];

/// What a model takes. A name that tells nothing is taken for the newest, and what is asked goes to it as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Takes {
    pub(super) adaptive: bool,
    pub(super) budget: bool,
    pub(super) sampling: bool,
    pub(super) no_thinking: bool,
}

impl Takes {
    pub(super) fn of(model: &str) -> Self {
        let model = model.to_ascii_lowercase();
        let always = ALWAYS_THINKING.iter().any(|name| model.contains(name));
        let generation = generation_of(&model);
        let is_old = generation.is_some_and(|g| g < ADAPTIVE);
        let is_new = always || generation.is_some_and(|g| g >= ADAPTIVE_ONLY);
        Self { adaptive: !is_old, budget: !is_new, sampling: !is_new, no_thinking: !always }
    }
}

/// `claude-sonnet-4-5-20250929` is (4, 5), `claude-3-7-sonnet` (3, 7), `claude-opus-4` (4, 0). A date is no version.
fn generation_of(model: &str) -> Option<(u32, u32)> {
    let (_, name) = model.split_once("claude")?;
    let number = |word: &str| word.parse::<u32>().ok().filter(|_| word.len() <= 2);
    let mut words = name.split(|c: char| !c.is_ascii_alphanumeric()).skip_while(|word| number(word).is_none());
    Some((number(words.next()?)?, words.next().and_then(number).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_generations() {
        for (name, want) in [
            ("claude-sonnet-4-5-20250929", Some((4, 5))),
            ("anthropic/claude-sonnet-4.5", Some((4, 5))),
            ("us.anthropic.claude-opus-4-6-v1", Some((4, 6))),
            ("claude-3-7-sonnet-20250219", Some((3, 7))),
            ("claude-opus-4-20250514", Some((4, 0))),
            ("claude-haiku-4-5@20251001", Some((4, 5))),
            ("claude-opus-5", Some((5, 0))),
            ("claude-2.1", Some((2, 1))),
            ("claude-latest", None),
            ("gpt-5.2", None),
        ] {
            assert_eq!(generation_of(name), want, "{name}");
        }
    }

    #[test]
    fn each_generation_takes_its_own() {
        let takes = |name| {
            let Takes { adaptive, budget, sampling, no_thinking } = Takes::of(name);
            [adaptive, budget, sampling, no_thinking]
        };
        assert_eq!(takes("claude-haiku-4-5"), [false, true, true, true]);
        assert_eq!(takes("claude-sonnet-4-6"), [true, true, true, true]);
        assert_eq!(takes("claude-opus-4-7"), [true, false, false, true]);
        assert_eq!(takes("claude-Fable-5"), [true, false, false, false]);
        assert_eq!(takes("claude-mythos-preview"), [true, false, false, false]);
        assert_eq!(takes("house-model"), [true, true, true, true]);
    }
}
