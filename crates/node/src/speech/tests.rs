//! One answer per form, read whole, character by character, and cut anywhere.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn tools() -> Arc<Vec<Value>> {
    let properties = json!({"city": {"type": "string"}, "days": {"type": "integer"}, "tags": {"type": "array"}});
    let tool =
        |name: &str| json!({"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": properties}}});
    Arc::new(vec![tool("weather"), tool("time")])
}

fn manner(evidence: &str, mode: Mode) -> Manner {
    Manner { speech: Arc::new(Speech::of(evidence, evidence)), mode, is_thinking: false, tools: tools(), is_parallel: true }
}

fn read(manner: &Manner, parts: &[&str]) -> Vec<Piece> {
    let mut reader = Reader::new(manner);
    let mut pieces: Vec<_> = parts.iter().flat_map(|part| reader.push((*part).to_owned())).collect();
    pieces.extend(reader.finish());
    let mut joined = Vec::new();
    join(&mut joined, pieces);
    assert_eq!(reader.calls() as usize, joined.iter().filter(|piece| matches!(piece, Piece::Call { .. })).count());
    joined
}

fn text(text: &str) -> Piece {
    Piece::Text(text.to_owned())
}

fn thought(text: &str) -> Piece {
    Piece::Thought(text.to_owned())
}

fn call(name: &str, arguments: &str) -> Piece {
    Piece::Call { name: name.to_owned(), arguments: arguments.to_owned() }
}

const PARIS: &str = r#"{"city":"Paris"}"#;

/// What a template writes or says, an answer in its form, and what it is.
#[allow(clippy::too_many_lines, reason = "a table")]
fn forms() -> Vec<(&'static str, &'static str, Vec<Piece>)> {
    let weather = || call("weather", PARIS);
    vec![
        // Hermes, Qwen.
        (
            "<tool_call>",
            "Let me see.\n<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Paris\"}}\n</tool_call>\n<tool_call>{\"name\":\"time\",\"arguments\":\"{}\"}</tool_call>\n",
            vec![text("Let me see."), weather(), call("time", "{}")],
        ),
        ("<tool_call>", "<tool_call>{\"name\":\"weather\",\"arguments\":{\"city\":\"Paris\"}}", vec![weather()]),
        (
            "<tool_call>",
            "<tool_call>{\"name\":\"time\",\"arguments\":{\"q\":\"</tool_call> é\"}}</tool_call> done",
            vec![call("time", "{\"q\":\"</tool_call> é\"}"), text("done")],
        ),
        ("<tool_call>", "a < b <tool", vec![text("a < b <tool")]),
        ("<tool_call>", "<tool_call>no json</tool_call> x", vec![text("<tool_call>no json</tool_call> x")]),
        ("<tool_call>", "<tool_call>{\"x\":1}", vec![text("<tool_call>{\"x\":1}")]),
        ("<tool_call>", "two  blanks \n", vec![text("two  blanks \n")]),
        ("<tool_call> <think>", "<think>\nHm, é.\n</think>\n\nYes.", vec![thought("Hm, é."), text("Yes.")]),
        (
            "<tool_call> </think>",
            "<think>\n\n</think>\n\n<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Paris\"}}\n</tool_call>",
            vec![weather()],
        ),
        ("<tool_call> </think>", "The tag <think> opens.", vec![text("The tag <think> opens.")]),
        ("<tool_call> </think>", "<think>never closed </thi", vec![thought("never closed </thi")]),
        // Qwen3-Coder, and GLM.
        (
            "<tool_call>",
            "<tool_call>\n<function=weather>\n<parameter=city>\n12\n</parameter>\n<parameter=days>\n3\n</parameter>\n<parameter=tags>\n[\"a\"]\n</parameter>\n</function>\n</tool_call>",
            vec![call("weather", r#"{"city":"12","days":3,"tags":["a"]}"#)],
        ),
        (
            "<tool_call>",
            "<tool_call>weather\n<arg_key>city</arg_key>\n<arg_value>Paris</arg_value>\n<arg_key>days</arg_key>\n<arg_value>2</arg_value>\n</tool_call>",
            vec![call("weather", r#"{"city":"Paris","days":2}"#)],
        ),
        ("<tool_call>", "<tool_call>time\n</tool_call>", vec![call("time", "{}")]),
        // Mistral, old and new.
        (
            "[TOOL_CALLS]",
            "[TOOL_CALLS] [{\"name\": \"weather\", \"arguments\": {\"city\": \"Paris\"}, \"id\": \"abc123def\"}]",
            vec![weather()],
        ),
        (
            "[TOOL_CALLS]",
            "Now.[TOOL_CALLS]weather[ARGS]{\"city\": \"Paris\"}[TOOL_CALLS]time[CALL_ID]x1[ARGS]{}",
            vec![text("Now."), weather(), call("time", "{}")],
        ),
        ("[TOOL_CALLS][/THINK]", "[THINK]hm[/THINK][a] list", vec![thought("hm"), text("[a] list")]),
        // Llama 3.x.
        (
            "<|python_tag|>",
            "{\"name\": \"weather\", \"parameters\": {\"city\": \"Paris\"}}; {\"name\": \"time\", \"parameters\": {}}",
            vec![weather(), call("time", "{}")],
        ),
        (
            "<|python_tag|>",
            "<|python_tag|>{\"type\": \"function\", \"name\": \"weather\", \"parameters\": {\"city\": \"Paris\"}}",
            vec![weather()],
        ),
        ("<|python_tag|>", "<|python_tag|>weather.call(query=\"x\")", vec![call("weather.call", "{\"query\":\"x\"}")]),
        ("<|python_tag|>", "{\"name\": \"Ann\", \"parameters\": {}}", vec![text("{\"name\": \"Ann\", \"parameters\": {}}")]),
        ("<|python_tag|>", "{\"city\": 1} is JSON", vec![text("{\"city\": 1} is JSON")]),
        ("<|start_header_id|>", "[weather(city=\"Paris\"), time()]", vec![weather(), call("time", "{}")]),
        ("<|start_header_id|>", "[1] and [two](x)", vec![text("[1] and [two](x)")]),
        ("<|start_header_id|>", "[other(a=1)] is no tool", vec![text("[other(a=1)] is no tool")]),
        // LFM2, Command, Phi, Granite, Nemotron, MiniMax.
        ("<|tool_call_start|>", "<|tool_call_start|>[weather(city='Paris')]<|tool_call_end|>Done.", vec![weather(), text("Done.")]),
        (
            "<|START_ACTION|><|START_THINKING|>",
            "<|START_THINKING|>I look.<|END_THINKING|><|START_ACTION|>[\n {\"tool_call_id\": \"0\", \"tool_name\": \"weather\", \"parameters\": {\"city\": \"Paris\"}}\n]<|END_ACTION|>",
            vec![thought("I look."), weather()],
        ),
        ("<|START_ACTION|>", "<|START_RESPONSE|>Hello.<|END_RESPONSE|>", vec![text("Hello.")]),
        (
            "<|tool_call|> <|/tool_call|>",
            "<|tool_call|>[{\"name\":\"weather\",\"arguments\":{\"city\":\"Paris\"}}]<|/tool_call|>",
            vec![weather()],
        ),
        ("<|tool_call|>", "<|tool_call|>[{\"name\":\"weather\",\"arguments\":{\"city\":\"Paris\"}}]", vec![weather()]),
        ("<TOOLCALL>", "<TOOLCALL>[{\"name\":\"weather\",\"arguments\":{\"city\":\"Paris\"}}]</TOOLCALL>", vec![weather()]),
        (
            "<minimax:tool_call>",
            "<minimax:tool_call>\n<invoke name=\"weather\">\n<parameter name=\"city\">Paris</parameter>\n</invoke>\n</minimax:tool_call>",
            vec![weather()],
        ),
        // DeepSeek R1 and V3, and V3.1.
        (
            "<｜tool▁call▁begin｜> </think>",
            "<think>\nHm.\n</think>\n\n<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>weather\n```json\n{\"city\": \"Paris\"}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>time\n```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
            vec![thought("Hm."), weather(), call("time", "{}")],
        ),
        (
            "<｜tool▁call▁begin｜>",
            "I call.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>weather<｜tool▁sep｜>{\"city\": \"Paris\"}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
            vec![text("I call."), weather()],
        ),
        ("<｜tool▁call▁begin｜>", "half <｜tool▁ca", vec![text("half <｜tool▁ca")]),
        // Kimi.
        (
            "<|tool_calls_section_begin|>",
            "<|tool_calls_section_begin|><|tool_call_begin|>functions.weather:0<|tool_call_argument_begin|>{\"city\": \"Paris\"}<|tool_call_end|><|tool_calls_section_end|>",
            vec![weather()],
        ),
        // Gemma: fences, FunctionGemma, Gemma 4.
        ("<start_of_turn>", "```tool_code\nprint(weather(city=\"Paris\"))\n```", vec![weather()]),
        ("<start_of_turn>", "```python\nweather()\n```", vec![text("```python\nweather()\n```")]),
        ("<start_function_call>", "<start_function_call>call:weather{city:<escape>Paris<escape>}<end_function_call>", vec![weather()]),
        (
            "<|tool_call> <|channel>thought",
            "<|channel>thought\nI look.\n<channel|><|tool_call>call:weather{city:<|\"|>{a}, <tool_call|><|\"|>,days:3,tags:[true,{k:<|\"|>v<|\"|>}]}<tool_call|>",
            vec![thought("I look."), call("weather", r#"{"city":"{a}, <tool_call|>","days":3,"tags":[true,{"k":"v"}]}"#)],
        ),
        // gpt-oss.
        (
            "<|channel|><|message|>",
            "<|channel|>analysis<|message|>I look.<|end|><|start|>assistant<|channel|>commentary<|message|>Looking.<|end|><|start|>assistant<|channel|>commentary to=functions.weather <|constrain|>json<|message|>{\"city\":\"Paris\"}<|call|>",
            vec![thought("I look."), text("Looking."), weather()],
        ),
        (
            "<|channel|><|message|>",
            "<|channel|>analysis<|message|>x<|end|><|start|>assistant to=functions.time<|channel|>commentary json<|message|>{}",
            vec![thought("x"), call("time", "{}")],
        ),
        ("<|channel|><|message|>", "<|channel|>final<|message|>a < b <|", vec![text("a < b <|")]),
        ("<|channel|><|message|>", "plain text", vec![text("plain text")]),
        ("<|channel|><|message|>", "<|channel|>analysis", vec![]),
        // A model that was never shown calls.
        ("", "{\"name\": \"weather\", \"arguments\": {\"city\": \"Paris\"}}", vec![weather()]),
        ("", "<tool_call>{\"name\": \"weather\", \"arguments\": {\"city\": \"Paris\"}}</tool_call>", vec![weather()]),
        ("", "{\"name\": \"weather\", \"argu", vec![text("{\"name\": \"weather\", \"argu")]),
        ("", "", vec![]),
    ]
}

/// An answer's characters, each for itself.
fn characters(answer: &str) -> Vec<&str> {
    answer.char_indices().map(|(at, c)| &answer[at..at + c.len_utf8()]).collect()
}

#[test]
fn every_form_is_read_whole_and_character_by_character() {
    for (evidence, answer, wanted) in forms() {
        let manner = manner(evidence, Mode::Auto);
        assert_eq!(read(&manner, &[answer]), wanted, "{}: {answer}", manner.speech.name());
        assert_eq!(read(&manner, &characters(answer)), wanted, "{}, by characters: {answer}", manner.speech.name());
    }
}

#[test]
fn no_half_mark_is_ever_given_out() {
    for (evidence, answer, wanted) in forms() {
        let manner = manner(evidence, Mode::Auto);
        let whole: String =
            wanted.iter().filter_map(|piece| if let Piece::Text(text) = piece { Some(text.as_str()) } else { None }).collect();
        let mut reader = Reader::new(&manner);
        let mut given = String::new();
        for part in characters(answer) {
            for piece in reader.push(part.to_owned()) {
                given.extend(if let Piece::Text(text) = piece { Some(text) } else { None });
            }
            assert!(whole.starts_with(&given), "{given:?} of {answer:?}");
        }
    }
}

#[test]
fn without_tools_calls_are_text_and_thoughts_are_thoughts() {
    let answer = "<think>a</think><tool_call>{\"name\":\"time\",\"arguments\":{}}</tool_call>";
    let thinking = manner("<tool_call> </think>", Mode::None);
    assert_eq!(read(&thinking, &characters(answer)), [thought("a"), text(&answer[16..])]);
    assert_eq!(read(&manner("<tool_call>", Mode::None), &[answer]), [text(answer)]);
    assert_eq!(read(&manner("<tool_call> </think>", Mode::Plain), &[answer]), [text(answer)]);
    let harmony = manner("<|channel|><|message|>", Mode::None);
    assert_eq!(
        read(&harmony, &["<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>b"]),
        [thought("a"), text("b")]
    );
}

#[test]
fn a_prompt_may_end_within_thoughts() {
    let manner = Manner { is_thinking: true, ..manner("<tool_call> <think>", Mode::Auto) };
    assert!(manner.speech.is_thinking_after("<|im_start|>assistant\n<think>\n"));
    assert!(!manner.speech.is_thinking_after("<|im_start|>assistant\n<think>\n\n</think>\n\n"));
    let answer = "\nHm.\n</think>\n\n<tool_call>{\"name\":\"time\",\"arguments\":{}}</tool_call>";
    for parts in [vec![answer], characters(answer)] {
        assert_eq!(read(&manner, &parts), [thought("Hm."), call("time", "{}")]);
    }
}

#[test]
fn a_forced_answer_is_a_call() {
    let forced = manner("<|channel|><|message|>", Mode::Forced);
    assert_eq!(read(&forced, &["{\"name\":\"f\",", "\"arguments\":{}}"]), [call("f", "{}")]);
    assert_eq!(read(&forced, &["cut sho"]), [text("cut sho")]);
    assert!(forced.speech.marks(Mode::Forced).is_empty());
}

#[test]
fn of_several_calls_one_counts_where_one_is_wanted() {
    let manner = Manner { is_parallel: false, ..manner("<tool_call>", Mode::Auto) };
    let twice = "<tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call><tool_call>{\"name\":\"g\",\"arguments\":{}}</tool_call>";
    assert_eq!(read(&manner, &characters(twice)), [call("f", "{}")]);
}

#[test]
fn a_call_without_end_becomes_text_at_last() {
    let manner = manner("<tool_call>", Mode::Auto);
    let mut reader = Reader::new(&manner);
    assert!(reader.push("<tool_call>{\"name\": \"".to_owned()).is_empty());
    let pieces: Vec<_> = (0..=CALL_BYTES_MAX / 4096).flat_map(|_| reader.push("x".repeat(4096))).collect();
    assert!(matches!(&pieces[..], [Piece::Text(text), ..] if text.starts_with("<tool_call>{")), "{} pieces", pieces.len());
}

#[test]
fn marks_are_asked_for_where_they_are_needed() {
    let deepseek = Speech::of("<｜tool▁call▁begin｜>", "</think>");
    assert_eq!(deepseek.marks(Mode::None), ["<think>", "</think>"]);
    assert_eq!(deepseek.marks(Mode::Auto).len(), 7);
    assert_eq!(Speech::of("", "").marks(Mode::None), Vec::<String>::new());
    assert_eq!(Speech::of("", "<start_function_call>").stops(), ["<start_function_response>"]);
}

proptest! {
    #[test]
    fn where_an_answer_is_cut_changes_nothing(form in 0usize..50, cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12), extra in "[<>|{}a\"\\n ]{0,6}") {
        let forms = forms();
        let (evidence, answer, _) = &forms[form % forms.len()];
        let manner = manner(evidence, Mode::Auto);
        let answer = format!("{answer}{extra}");
        let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(answer.len() + 1)).filter(|at| answer.is_char_boundary(*at)).chain([0, answer.len()]).collect();
        ends.sort_unstable();
        let parts: Vec<_> = ends.windows(2).map(|w| &answer[w[0]..w[1]]).collect();
        prop_assert_eq!(read(&manner, &parts), read(&manner, &[&answer]));
    }
}

/// Tokens that were thought, where each word with the blanks before it is a token, `at_once` of them come together and `held` more had no text.
fn thought_tokens(manner: &Manner, answer: &str, at_once: usize, held: u32) -> Option<u32> {
    let mut reader = Reader::new(manner);
    let words: Vec<&str> = answer.split_inclusive(' ').collect();
    let mut tokens = 0;
    for together in words.chunks(at_once) {
        let (mut bit, mut ends) = (String::new(), Vec::new());
        for word in together {
            bit.push_str(word);
            tokens += 1;
            ends.push(StepEnd { bytes: bit.len(), tokens });
        }
        reader.push_counted(bit, &ends);
    }
    reader.push_counted(String::new(), &[StepEnd { bytes: 0, tokens: tokens + held }]);
    reader.finish();
    reader.thought()
}

#[test]
fn tokens_of_thoughts_are_counted_however_the_answer_is_cut() {
    let thinking = |is_thinking| Manner { is_thinking, ..manner("<think>", Mode::None) };
    for at_once in 1..=9 {
        assert_eq!(thought_tokens(&thinking(false), "<think> let me see </think> it is four", at_once, 1), Some(5), "{at_once}");
        assert_eq!(thought_tokens(&thinking(true), "let me see </think> it is four", at_once, 0), Some(4), "{at_once}");
        assert_eq!(thought_tokens(&thinking(true), "let me see", at_once, 2), Some(5), "it was cut short");
        assert_eq!(thought_tokens(&thinking(false), "it is four", at_once, 0), Some(0));
        let harmony = "<|channel|>analysis<|message|> let me<|end|> <|start|>assistant<|channel|>final<|message|> four";
        assert_eq!(thought_tokens(&manner("<|channel|><|message|>", Mode::None), harmony, at_once, 0), Some(3), "{at_once}");
        assert_eq!(thought_tokens(&manner("no marks", Mode::None), "<think> x </think> y", at_once, 0), None, "it does not think");
    }
}
