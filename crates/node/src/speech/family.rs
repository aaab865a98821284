//! The families of models, by the marks that their templates write.

use super::{Mode, body::Body};

/// A kind of call: what opens it, what closes it, what is between.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) open: &'static str,
    /// None where only the next opening mark or the end of the answer ends it.
    pub(super) close: Option<&'static str>,
    pub(super) body: Body,
}

/// Whether an answer that begins with a bracket may be a call without any mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bare {
    /// `{"name": …}`.
    Json,
    /// `[f(a=1)]`.
    Python,
}

/// Marks around thoughts.
pub type Tags = (&'static str, &'static str);

#[derive(Debug)]
struct Family {
    name: &'static str,
    /// What its template writes (all of these), in an earlier turn or in its source.
    evidence: &'static [&'static str],
    sections: &'static [Section],
    bare: &'static [Bare],
    /// Marks within calls.
    inner: &'static [&'static str],
    /// Marks that mean nothing to a reader.
    drops: &'static [&'static str],
    /// After these the model would write what a tool answers.
    stops: &'static [&'static str],
}

const PLAIN: Family = Family { name: "", evidence: &[], sections: &[], bare: &[], inner: &[], drops: &[], stops: &[] };

const fn section(open: &'static str, close: &'static str, body: Body) -> Section {
    Section { open, close: Some(close), body }
}

/// The first one whose evidence is there counts: the rarer marks first.
static FAMILIES: [Family; 18] = [
    Family {
        name: "harmony",
        evidence: &["<|channel|>", "<|message|>"],
        inner: &["<|channel|>", "<|message|>", "<|constrain|>", "<|start|>", "<|end|>", "<|call|>", "<|return|>"],
        ..PLAIN
    },
    Family {
        name: "deepseek",
        evidence: &["<｜tool▁call▁begin｜>"],
        sections: &[section("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>", Body::DeepSeek)],
        inner: &["<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>"],
        ..PLAIN
    },
    Family {
        name: "kimi",
        evidence: &["<|tool_calls_section_begin|>"],
        sections: &[section("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>", Body::Kimi)],
        inner: &["<|tool_call_begin|>", "<|tool_call_argument_begin|>", "<|tool_call_end|>"],
        ..PLAIN
    },
    Family {
        name: "mistral",
        evidence: &["[TOOL_CALLS]"],
        sections: &[Section { open: "[TOOL_CALLS]", close: None, body: Body::Mistral }],
        inner: &["[ARGS]", "[CALL_ID]"],
        ..PLAIN
    },
    Family {
        name: "lfm",
        evidence: &["<|tool_call_start|>"],
        sections: &[section("<|tool_call_start|>", "<|tool_call_end|>", Body::PythonTag)],
        ..PLAIN
    },
    Family {
        name: "command",
        evidence: &["<|START_ACTION|>"],
        sections: &[section("<|START_ACTION|>", "<|END_ACTION|>", Body::Tagged)],
        drops: &["<|START_RESPONSE|>", "<|END_RESPONSE|>", "<|START_TEXT|>", "<|END_TEXT|>"],
        ..PLAIN
    },
    Family {
        name: "gemma4",
        evidence: &["<|tool_call>"],
        sections: &[section("<|tool_call>", "<tool_call|>", Body::Gemma)],
        inner: &["<|\"|>"],
        stops: &["<|tool_response>"],
        ..PLAIN
    },
    Family {
        name: "functiongemma",
        evidence: &["<start_function_call>"],
        sections: &[section("<start_function_call>", "<end_function_call>", Body::Gemma)],
        inner: &["<escape>"],
        stops: &["<start_function_response>"],
        ..PLAIN
    },
    Family {
        name: "minimax",
        evidence: &["<minimax:tool_call>"],
        sections: &[section("<minimax:tool_call>", "</minimax:tool_call>", Body::Invoke)],
        ..PLAIN
    },
    Family {
        name: "phi",
        evidence: &["<|tool_call|>", "<|/tool_call|>"],
        sections: &[section("<|tool_call|>", "<|/tool_call|>", Body::Tagged)],
        ..PLAIN
    },
    Family {
        name: "granite",
        evidence: &["<|tool_call|>"],
        sections: &[Section { open: "<|tool_call|>", close: None, body: Body::Tagged }],
        ..PLAIN
    },
    Family { name: "nemotron", evidence: &["<TOOLCALL>"], sections: &[section("<TOOLCALL>", "</TOOLCALL>", Body::Tagged)], ..PLAIN },
    // Hermes, Qwen, SmolLM and whoever learned from them; Qwen3-Coder and GLM write elements in the same tags.
    Family { name: "hermes", evidence: &["<tool_call>"], sections: &[section("<tool_call>", "</tool_call>", Body::Tagged)], ..PLAIN },
    Family {
        name: "llama4",
        evidence: &["<|python_start|>"],
        sections: &[section("<|python_start|>", "<|python_end|>", Body::PythonTag)],
        bare: &[Bare::Python, Bare::Json],
        ..PLAIN
    },
    Family {
        name: "llama3",
        evidence: &["<|python_tag|>"],
        sections: &[Section { open: "<|python_tag|>", close: None, body: Body::PythonTag }],
        bare: &[Bare::Json, Bare::Python],
        ..PLAIN
    },
    Family {
        name: "llama3",
        evidence: &["<|start_header_id|>"],
        sections: &[Section { open: "<|python_tag|>", close: None, body: Body::PythonTag }],
        bare: &[Bare::Json, Bare::Python],
        ..PLAIN
    },
    Family {
        name: "gemma",
        evidence: &["<start_of_turn>"],
        sections: &[section("```tool_code\n", "```", Body::Python)],
        bare: &[Bare::Json, Bare::Python],
        ..PLAIN
    },
    // What a model writes that was never shown calls, but is told of tools.
    Family {
        name: "common",
        evidence: &[],
        sections: &[section("<tool_call>", "</tool_call>", Body::Tagged)],
        bare: &[Bare::Json],
        ..PLAIN
    },
];

/// Marks around thoughts, each known by the template that writes or cuts it.
const THOUGHTS: [Tags; 6] = [
    ("<think>", "</think>"),
    ("[THINK]", "[/THINK]"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|channel>thought", "<channel|>"),
    ("<seed:think>", "</seed:think>"),
    ("<thinking>", "</thinking>"),
];

/// A call as JSON between marks, as a template writes it.
#[derive(Debug, Clone, Copy)]
pub struct CallForm {
    /// In front.
    pub open: &'static str,
    /// Behind; empty where the end of the answer is the end.
    pub close: &'static str,
    /// Whether calls stand in a list.
    pub is_list: bool,
    /// What the arguments are called.
    pub arguments: &'static str,
}

impl CallForm {
    fn of(family: &Family, turn: &str) -> Option<Self> {
        let section = family.sections.iter().find(|section| section.body == Body::Tagged && turn.contains(section.open))?;
        let inside = turn.split_once(section.open)?.1.trim_start();
        let object = inside.trim_start_matches('[').trim_start().strip_prefix('{')?.trim_start();
        let arguments = ["arguments", "parameters"].into_iter().find(|key| object.contains(&format!("\"{key}\"")))?;
        let is_list = inside.starts_with('[');
        object.starts_with("\"name\"").then_some(Self { open: section.open, close: section.close.unwrap_or_default(), is_list, arguments })
    }
}

/// How the models of one template write.
#[derive(Debug)]
pub struct Speech {
    family: &'static Family,
    tags: Option<Tags>,
    call: Option<CallForm>,
}

impl Speech {
    /// By an earlier turn as the template writes it (empty where it writes none), else by the template itself.
    pub fn of(turn: &str, source: &str) -> Self {
        let shows = |family: &&Family, text: &str| !family.evidence.is_empty() && family.evidence.iter().all(|mark| text.contains(mark));
        let family = FAMILIES.iter().find(|family| shows(family, turn)).or_else(|| FAMILIES.iter().find(|family| shows(family, source)));
        let tags = THOUGHTS.iter().find(|(open, close)| source.contains(open) || source.contains(close)).copied();
        let family = family.unwrap_or(&FAMILIES[FAMILIES.len() - 1]);
        Self { family, tags, call: CallForm::of(family, turn) }
    }

    /// What the family is called here.
    pub const fn name(&self) -> &'static str {
        self.family.name
    }

    /// How it writes calls, where that is JSON between marks.
    pub const fn call(&self) -> Option<CallForm> {
        self.call
    }

    /// Whether thoughts have marks of their own.
    pub const fn thinks(&self) -> bool {
        self.tags.is_some()
    }

    /// Whether a prompt leaves the model within its thoughts.
    pub fn is_thinking_after(&self, prompt: &str) -> bool {
        self.tags.is_some_and(|(open, _)| prompt.trim_end().ends_with(open))
    }

    /// Control tokens whose text is needed to read an answer.
    pub fn marks(&self, mode: Mode) -> Vec<String> {
        let mut marks: Vec<&str> = Vec::new();
        if matches!(mode, Mode::Auto | Mode::None) {
            marks.extend(self.tags.into_iter().flat_map(|(open, close)| [open, close]));
            marks.extend(self.family.drops);
        }
        if mode == Mode::Auto || (mode == Mode::None && self.is_harmony()) {
            marks.extend(self.family.sections.iter().flat_map(|section| [Some(section.open), section.close]).flatten());
            marks.extend(self.family.inner.iter().chain(self.family.stops));
        }
        marks.into_iter().map(str::to_owned).collect()
    }

    /// Strings that end an answer in which tools are called.
    pub fn stops(&self) -> &'static [&'static str] {
        self.family.stops
    }

    pub(super) fn is_harmony(&self) -> bool {
        self.family.name == "harmony"
    }

    /// Marks around thoughts.
    pub const fn tags(&self) -> Option<Tags> {
        self.tags
    }

    pub(super) const fn sections(&self) -> &'static [Section] {
        self.family.sections
    }

    pub(super) const fn bare(&self) -> &'static [Bare] {
        self.family.bare
    }

    pub(super) const fn drops(&self) -> &'static [&'static str] {
        self.family.drops
    }
}
