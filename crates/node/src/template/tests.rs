use std::fmt::Write;

use serde_json::json;

use super::*;

fn template(source: &str) -> ChatTemplate {
    ChatTemplate::new(Some(source), None, Some("<s>"), Some("</s>"), Arc::new(Controls::new([])))
}

fn conversation(messages: Json) -> Conversation {
    Conversation { messages: messages.as_array().unwrap().clone(), ..Conversation::default() }
}

/// The rendered text, with plain segments in «».
fn text(prompt: &Prompt) -> String {
    prompt.segments.iter().fold(String::new(), |mut out, segment| {
        match segment {
            Segment::Text { text, special: true } => out.push_str(text),
            Segment::Text { text, special: false } => write!(out, "«{text}»").unwrap(),
            Segment::Tokens { .. } => unreachable!(),
        }
        out
    })
}

fn render(source: &str, conversation: Conversation) -> String {
    text(&template(source).render(conversation, false).unwrap())
}

fn hello() -> Conversation {
    conversation(json!([{"role": "system", "content": " Be kind. "}, {"role": "user", "content": "Hi <|im_end|> you"}]))
}

#[test]
fn chatml_stands_in_and_brings_its_stop_string() {
    let fallback = ChatTemplate::new(None, None, None, None, Arc::new(Controls::new([])));
    let prompt = fallback.render(hello(), true).unwrap();
    assert_eq!(
        text(&prompt),
        "<|im_start|>system\n Be kind. <|im_end|>\n<|im_start|>user\nHi «<|im_end|>» you<|im_end|>\n<|im_start|>assistant\n"
    );
    assert!(prompt.add_special);
    assert_eq!(fallback.stop(), Some("<|im_end|>"));
}

#[test]
fn blocks_are_trimmed_and_loops_controlled() {
    let source = "
{%- for m in messages %}
    {%- if m.role == 'system' %}{% continue %}{% endif %}
    {% if loop.last %}
[{{ m.content | trim }}]
    {% endif %}
{% endfor %}";
    assert_eq!(render(source, hello()), "[Hi «<|im_end|>» you]\n");
}

#[test]
fn a_template_that_writes_bos_gets_none_on_top() {
    let prompt = template("{{ bos_token }}{{ messages[0].content }}{{ eos_token }}").render(hello(), true).unwrap();
    assert_eq!((text(&prompt).as_str(), prompt.add_special), ("<s> Be kind. </s>", false));
    assert!(template("{{ messages[0].content }}").render(hello(), true).unwrap().add_special);
}

#[test]
fn tojson_and_printing_are_python_s() {
    let tools = json!([{"type": "function", "function": {"name": "f", "parameters": {"a": [1, 2.5, true, null], "e": {}, "q": "<'é'>"}}}]);
    let with = |source: &str| render(source, Conversation { tools: Some(tools.clone()), ..Conversation::default() });
    assert_eq!(
        with("{{ tools[0].function | tojson }}"),
        "{\"name\": \"f\", \"parameters\": {\"a\": [1, 2.5, true, null], \"e\": {}, \"q\": \"<'é'>\"}}"
    );
    assert_eq!(with("{{ tools[0].function.parameters.a[:2] | tojson(indent=2) }}"), "[\n  1,\n  2.5\n]");
    assert_eq!(with("{{ tools[0].function.parameters.a[:2] | tojson(separators=(',', ':')) }}"), "[1,2.5]");
    assert_eq!(with("{{ tools[0].function.parameters }}"), "{'a': [1, 2.5, True, None], 'e': {}, 'q': \"<'é'>\"}");
    assert_eq!(
        with("{{ tools[0].function.parameters.e | string }}{{ none is iterable }}{{ 'x' is sequence }}{{ 1 is iterable }}"),
        "{}FalseTrueFalse"
    );
    assert_eq!(with("{{ true }} {{ none }} {{ missing }} {{ missing | length }}"), "True None  0");
    assert_eq!(with("{% for k, v in tools[0].items() %}{{ k }},{% endfor %}{{ 'a-b'.split('-')[1] }}"), "type,function,b");
}

#[test]
fn a_refusal_is_told_in_the_template_s_words() {
    let refused = template("{{ raise_exception('roles must alternate') }}").render(hello(), false).unwrap_err();
    assert!(matches!(&refused, TemplateError::Refused(said) if said == "roles must alternate"), "{refused}");
    let unreadable = template("{% for %}").render(hello(), false).unwrap_err();
    assert!(matches!(unreadable, TemplateError::Unreadable(_)));
}

#[test]
fn work_and_output_are_bounded() {
    let endless = "{% for a in range(9000) %}{% for b in range(9000) %}{{ '' }}{% endfor %}{% endfor %}";
    let said = template(endless).render(hello(), false).unwrap_err().to_string();
    assert!(said.contains("too many steps"), "{said}");
    let long = "{% for a in range(9000) %}{{ 'x' * 100000 }}{% endfor %}";
    assert!(template(long).render(hello(), false).is_err());
}

#[test]
fn developer_becomes_system_unless_the_template_knows_it() {
    let messages = || conversation(json!([{"role": "developer", "content": "x"}]));
    assert_eq!(render("{{ messages[0].role }}", messages()), "system");
    assert_eq!(render("{# developer #}{{ messages[0].role }}", messages()), "developer");
}

#[test]
fn tools_choose_the_template_made_for_them() {
    let both = ChatTemplate::new(Some("plain"), Some("tools"), None, None, Arc::new(Controls::new([])));
    assert_eq!(text(&both.render(hello(), false).unwrap()), "plain");
    assert_eq!(text(&both.render(Conversation { tools: Some(json!([])), ..hello() }, false).unwrap()), "tools");
}

#[test]
fn training_tags_and_the_clock_are_known() {
    let source = "{% generation %}\nA{% endgeneration %}{{ strftime_now('%Y') | length }}{{ enable_thinking }}";
    let more = json!({"enable_thinking": false}).as_object().unwrap().clone();
    assert_eq!(render(source, Conversation { more, ..hello() }), "A4False");
    assert!(template("{{ strftime_now('%Q%') }}").render(hello(), false).is_err());
}

#[test]
fn roles_and_tools_cannot_spell_control_tokens_either() {
    let mut said = conversation(json!([{"role": "user<|im_end|>", "content": "x"}]));
    said.tools = Some(json!([{"<|im_start|>": "<s>"}]));
    assert_eq!(render("{{ messages[0].role }}{{ tools | tojson }}", said), "user«<|im_end|>»[{\"«<|im_start|>»\": \"«<s>»\"}]");
}
