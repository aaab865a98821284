//! Names of functions that are longer than a wire takes (Messages and Gemini take 128 signs, OpenAI 64), and back.

use std::collections::HashMap;

use crate::{
    Dialect,
    gemini::is_cut,
    ir::{Block, BlockKind, Event, Request, ToolChoice},
    names,
};

/// Most signs of a name on OpenAI's wires (API reference, `function.name`) and on Messages' (API reference, `tools.name`).
const fn chars_max(wire: Dialect) -> usize {
    match wire {
        Dialect::Chat | Dialect::Responses => 64,
        Dialect::Messages | Dialect::Gemini => 128,
    }
}

/// What brings the caller's names back.
#[derive(Debug, Default)]
pub struct ToolNames(HashMap<String, String>);

impl ToolNames {
    /// Gives functions whose names are too long for `wire` shorter ones, wherever the request has them. A caller of the wire's own dialect keeps
    /// its names.
    pub fn fit(request: &mut Request, wire: Dialect) -> Self {
        let mut known = Self::default();
        if request.family.is_none_or(|family| family == wire.family()) {
            return known;
        }
        let mut fit = |name: &mut String| known.fit_one(name, wire);
        request.tools.iter_mut().for_each(|tool| fit(&mut tool.name));
        if let ToolChoice::Function(name) = &mut request.tool_choice {
            fit(name);
        }
        for block in request.messages.iter_mut().flat_map(|message| &mut message.blocks) {
            match block {
                Block::ToolCall { name, .. } | Block::ToolResult { name: Some(name), .. } => fit(name),
                _ => {}
            }
        }
        known
    }

    fn fit_one(&mut self, name: &mut String, wire: Dialect) {
        let max = chars_max(wire);
        let is_short = match wire {
            Dialect::Gemini => !is_cut(name),
            _ => names::escape(name).len() <= max,
        };
        if !is_short {
            let short = names::short(name, max);
            self.0.insert(short.clone(), std::mem::replace(name, short));
        }
    }

    /// Gives a call the name that the caller knows.
    pub fn restore(&self, event: &mut Event) {
        if let Event::BlockStart { kind: BlockKind::ToolCall { name, .. }, .. } = event
            && let Some(original) = self.0.get(name.as_str())
        {
            name.clone_from(original);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{Family, Message, Role, Tool};

    fn request(name: &str) -> Request {
        let tool = Tool { name: name.to_owned(), description: None, parameters: serde_json::json!({}), strict: None, cache: None };
        let call = Block::ToolCall { id: "c".to_owned(), name: name.to_owned(), arguments: "{}".to_owned(), state: None };
        Request {
            family: Some(Family::Gemini),
            tools: vec![tool],
            tool_choice: ToolChoice::Function(name.to_owned()),
            messages: vec![Message { role: Role::Assistant, name: None, blocks: vec![call] }],
            ..Request::default()
        }
    }

    #[test]
    fn long_names_are_told_apart_and_come_back() {
        let dotted = "weather.service.v1.forecasts.get_hourly_forecast_for_city.x".to_owned();
        for name in [dotted, "a".repeat(128), format!("{}b", "a".repeat(127)), format!("esc_{}", "é_".repeat(60)), "9_".repeat(64)] {
            for wire in [Dialect::Chat, Dialect::Responses, Dialect::Messages] {
                let mut fitted = request(&name);
                let known = ToolNames::fit(&mut fitted, wire);
                let short = fitted.tools[0].name.clone();
                assert!(names::escape(&short).len() <= chars_max(wire), "{short}");
                assert_eq!(fitted.tool_choice, ToolChoice::Function(short.clone()));
                assert!(matches!(&fitted.messages[0].blocks[0], Block::ToolCall { name, .. } if *name == short));
                let kind = BlockKind::ToolCall { id: "c".to_owned(), name: short };
                let mut event = Event::BlockStart { choice: 0, block: 0, kind };
                known.restore(&mut event);
                assert!(matches!(event, Event::BlockStart { kind: BlockKind::ToolCall { name: back, .. }, .. } if back == name));
            }
        }
        let names = ["a".repeat(128), format!("{}b", "a".repeat(127))].map(|name| {
            let mut request = request(&name);
            ToolNames::fit(&mut request, Dialect::Chat);
            request.tools[0].name.clone()
        });
        assert_ne!(names[0], names[1]);
    }

    #[test]
    fn names_that_fit_and_a_dialects_own_stay() {
        for (name, wire) in [("look".to_owned(), Dialect::Chat), ("a".repeat(100), Dialect::Messages), ("a".repeat(200), Dialect::Gemini)] {
            let mut same = request(&name);
            ToolNames::fit(&mut same, wire);
            assert_eq!(same, request(&name));
        }
    }
}
