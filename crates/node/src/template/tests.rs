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
            Segment::Tokens { .. } | Segment::Between => unreachable!(),
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

/// Templates in the manner of their families, much shortened: how they write a call of `f` in an earlier turn.
const CALLERS: [(&str, &str, bool); 7] = [
    (
        "hermes",
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}{% for t in m.tool_calls %}<tool_call>\n{\"name\": \"{{ t.function.name }}\", \"arguments\": {{ t.function.arguments | tojson }}}\n</tool_call>{% endfor %}<|im_end|>{% endfor %}",
        false,
    ),
    (
        "deepseek",
        "{% for m in messages %}{% if m.tool_calls %}<｜Assistant｜><｜tool▁calls▁begin｜>{% for t in m.tool_calls %}{{ '<｜tool▁call▁begin｜>' + t.type + '<｜tool▁sep｜>' + t.function.name + '\\n```json\\n' + t.function.arguments + '\\n```<｜tool▁call▁end｜>' }}{% endfor %}<｜tool▁calls▁end｜>{% else %}<｜User｜>{{ m.content.split('</think>')[-1] }}{% endif %}{% endfor %}",
        true,
    ),
    (
        "mistral",
        "{% for m in messages %}{% if m.tool_calls is defined %}[TOOL_CALLS][{% for t in m.tool_calls %}{% if t.id | length != 9 %}{{ raise_exception('nine') }}{% endif %}{{ t.function | tojson }}{% endfor %}]</s>{% else %}[INST]{{ m.content }}[/INST]{% endif %}{% endfor %}",
        false,
    ),
    (
        "llama3",
        "{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>{% if 'tool_calls' in m %}{% if m.tool_calls | length != 1 %}{{ raise_exception('one') }}{% endif %}{\"name\": \"{{ m.tool_calls[0].function.name }}\", \"parameters\": {{ m.tool_calls[0].function.arguments | tojson }}}{% else %}{{ m.content }}{% endif %}{% endfor %}",
        false,
    ),
    (
        "harmony",
        "{% for m in messages %}<|start|>{{ m.role }}{% for t in m.tool_calls %}<|channel|>commentary to=functions.{{ t.function.name }} <|constrain|>json<|message|>{{ t.function.arguments }}<|call|>{% else %}<|message|>{{ m.content }}<|end|>{% endfor %}{% endfor %}",
        true,
    ),
    (
        "gemma",
        "{% for m in messages %}{% if m.role not in ['user', 'assistant'] %}{{ raise_exception('roles') }}{% endif %}<start_of_turn>{{ m.role }}\n{{ m.content }}<end_of_turn>{% endfor %}",
        false,
    ),
    ("common", "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>{% endfor %}", false),
];

#[test]
fn a_template_shows_how_its_models_call() {
    for (family, source, wants_text) in CALLERS {
        let template = template(source);
        assert_eq!((template.speech().name(), template.wants_text), (family, wants_text), "{source}");
    }
    let call = template(CALLERS[0].1).speech().call().unwrap();
    assert_eq!((call.open, call.close, call.arguments, call.is_list), ("<tool_call>", "</tool_call>", "arguments", false));
    assert!(template(CALLERS[1].1).speech().thinks() && !template(CALLERS[2].1).speech().thinks());
    assert_eq!(template("{{ 1 + }} [TOOL_CALLS]").speech().name(), "mistral", "by the source, where it can't be read");
    assert_eq!(ChatTemplate::new(None, None, None, None, Arc::new(Controls::new([]))).speech().name(), "common");
}

#[test]
fn arguments_come_as_the_template_wants_them() {
    let call = json!({"id": "callprobe", "type": "function", "function": {"name": "f", "arguments": {"a": 1}}});
    let conversation =
        || conversation(json!([{"role": "user", "content": "x"}, {"role": "assistant", "content": null, "tool_calls": [call.clone()]}]));
    assert!(render(CALLERS[1].1, conversation()).contains("```json\n{\"a\":1}\n```"));
    assert!(render(CALLERS[4].1, conversation()).contains("<|message|>{\"a\":1}<|call|>"));
    assert!(render(CALLERS[0].1, conversation()).contains("\"arguments\": {\"a\": 1}"));
}
