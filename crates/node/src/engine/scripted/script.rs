//! What a scripted engine does: from the name of its model's file, and one word after the other.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use wire::fleet::worker::{Constraint, Finish, Submit, TokenChance, TokenLogprob};

/// Something that goes wrong after a number of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Accident {
    Crash,
    Hang,
}

/// Behaviour by file name: parts after `+`, as in `tiny+delay=20+crash=3+once.gguf`.
///
/// `delay=MS` between tokens; `load=MS` before it is loaded; `refuse` to load; `crash=N`, `hang=N` (heartbeats go on) and `mute=N`
/// (they stop) when a request has N tokens; `once`: the accident happens to the first process only. `rank`: it ranks and does not embed. `count=N`: it
/// does not repeat the prompt but counts to N, from the number that the prompt ends with.
#[derive(Debug, Clone, Default)]
pub(super) struct Script {
    pub(super) delay: Duration,
    pub(super) load: Duration,
    pub(super) refuses: bool,
    pub(super) ranks: bool,
    count: Option<u32>,
    crash: Option<u32>,
    hang: Option<u32>,
    mute: Option<u32>,
    /// Exists when the accident has happened.
    once: Option<PathBuf>,
}

impl Script {
    pub(super) fn of_path(path: &str) -> Self {
        let mut script = Self::default();
        let stem = Path::new(path).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        for part in stem.split('+').skip(1) {
            let (name, number) = part.split_once('=').unwrap_or((part, ""));
            let number = number.parse().ok();
            match name {
                "delay" => script.delay = Duration::from_millis(number.unwrap_or(0).into()),
                "load" => script.load = Duration::from_millis(number.unwrap_or(0).into()),
                "refuse" => script.refuses = true,
                "rank" => script.ranks = true,
                "count" => script.count = number,
                "crash" => script.crash = number,
                "hang" => script.hang = number,
                "mute" => script.mute = number,
                "once" => script.once = Some(Path::new(path).with_extension("once")),
                _ => {}
            }
        }
        script
    }

    /// What is answered to a prompt of these words, each a token.
    pub(super) fn answer(&self, words: Vec<String>) -> Vec<String> {
        let Some(most) = self.count else { return words };
        let begun = words.last().and_then(|word| word.trim().parse::<u32>().ok()).unwrap_or(0);
        (begun.saturating_add(1)..=most).map(|n| if n == 1 { "1".to_owned() } else { format!(" {n}") }).collect()
    }

    pub(super) const fn is_mute(&self) -> bool {
        self.mute.is_some()
    }

    /// What happens now that a request has `generated` tokens.
    pub(super) fn accident(&self, generated: u32) -> Option<Accident> {
        let reached = |at: Option<u32>| at.is_some_and(|at| generated >= at);
        let accident = match () {
            () if reached(self.crash) => Accident::Crash,
            () if reached(self.hang) || reached(self.mute) => Accident::Hang,
            () => return None,
        };
        match &self.once {
            // Creating fails where the file exists: it has happened.
            Some(marker) => std::fs::File::create_new(marker).ok().map(|_| accident),
            None => Some(accident),
        }
    }
}

/// A text's words, each with the blanks before it.
pub(super) fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    for c in text.chars() {
        if c.is_whitespace() && !word.trim().is_empty() {
            words.push(std::mem::take(&mut word));
        }
        word.push(c);
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// One answer: the prompt's words again.
#[derive(Debug)]
pub(super) struct Answer {
    words: Vec<String>,
    count: u32,
    max: u32,
    repeats: bool,
    stop: Vec<String>,
    logprobs: Option<u8>,
    /// Not given out yet: it may begin a stop string.
    held: String,
    held_logprobs: Vec<TokenLogprob>,
    has_stopped: bool,
}

impl Answer {
    pub(super) fn new(submit: &Submit, words: Vec<String>, left: u32) -> Self {
        let is_bound = matches!(submit.constraint, Some(Constraint::JsonSchema(_) | Constraint::Grammar(_)));
        let words = if is_bound { vec!["{}".to_owned()] } else { words };
        Self {
            words,
            count: 0,
            max: submit.max_tokens.unwrap_or(left).min(left),
            repeats: submit.ignore_eos,
            stop: submit.stop.clone(),
            logprobs: submit.logprobs,
            held: String::new(),
            held_logprobs: Vec::new(),
            has_stopped: false,
        }
    }

    pub(super) const fn count(&self) -> u32 {
        self.count
    }

    /// The next token's text, or the end.
    pub(super) fn step(&mut self) -> Result<(String, Vec<TokenLogprob>), Finish> {
        if self.has_stopped {
            return Err(Finish::StopString);
        }
        if self.count >= self.max {
            return Err(Finish::Length);
        }
        let at = self.count as usize;
        let at = if self.repeats && !self.words.is_empty() { at % self.words.len() } else { at };
        let word = self.words.get(at).ok_or(Finish::Stop)?.clone();
        self.count += 1;
        self.held_logprobs.extend(self.logprobs.map(|top| logprob(&word, at, top)));
        self.held.push_str(&word);
        if let Some(at) = self.stop.iter().filter_map(|stop| self.held.find(stop)).min() {
            self.held.truncate(at);
            self.has_stopped = true;
            return Ok((String::new(), Vec::new()));
        }
        let keep = (0..=self.held.len()).filter(|at| self.held.is_char_boundary(*at)).find(|at| {
            let tail = &self.held[*at..];
            tail.is_empty() || self.stop.iter().any(|stop| stop.starts_with(tail))
        });
        let tail = self.held.split_off(keep.unwrap_or(0));
        Ok((std::mem::replace(&mut self.held, tail), std::mem::take(&mut self.held_logprobs)))
    }

    /// What was held back and belongs to the answer.
    pub(super) fn rest(&mut self, finish: Finish) -> (String, Vec<TokenLogprob>) {
        if finish == Finish::Cancelled {
            return Default::default();
        }
        (std::mem::take(&mut self.held), std::mem::take(&mut self.held_logprobs))
    }
}

fn logprob(word: &str, at: usize, top: u8) -> TokenLogprob {
    let chance = |text: &str, id: usize, logprob| TokenChance { id: id as i32, bytes: text.as_bytes().to_vec(), logprob };
    let others = ["…", "?", "!"].iter().enumerate().map(|(n, text)| chance(text, 1000 + n, -2.0 - n as f32));
    let top = std::iter::once(chance(word, at, -0.25)).chain(others).take(top.into()).collect();
    TokenLogprob { token: chance(word, at, -0.25), top }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str, stop: &[&str]) -> (String, Finish) {
        let submit = Submit {
            id: 1,
            prompt: wire::fleet::worker::Prompt::plain(text),
            max_tokens: None,
            sampling: wire::fleet::worker::Sampling::default(),
            constraint: None,
            marks: Vec::new(),
            stop: stop.iter().map(|s| (*s).to_owned()).collect(),
            logprobs: None,
            ignore_eos: false,
            cache_prompt: true,
            salt: 0,
            queue_ms: 0,
        };
        let mut answer = Answer::new(&submit, words(text), 100);
        let mut out = String::new();
        loop {
            match answer.step() {
                Ok((text, _)) => out.push_str(&text),
                Err(finish) => return (out + &answer.rest(finish).0, finish),
            }
        }
    }

    #[test]
    fn it_repeats_the_prompt_up_to_a_stop_string() {
        assert_eq!(answer("one two  three", &[]), ("one two  three".to_owned(), Finish::Stop));
        assert_eq!(answer("one two three", &["o th"]), ("one tw".to_owned(), Finish::StopString));
        assert_eq!(answer("one two three", &["three four"]), ("one two three".to_owned(), Finish::Stop));
    }

    #[test]
    fn an_accident_with_once_happens_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m+crash=2+once.gguf");
        let script = Script::of_path(path.to_str().unwrap());
        assert_eq!([script.accident(1), script.accident(2), script.accident(3)], [None, Some(Accident::Crash), None]);
    }
}
