use proptest::prelude::*;
use serde_json::json;

use super::*;

fn document(text: &str) -> Document {
    Document::new(text, Path::new("router.yaml")).unwrap()
}

/// A text after one change.
fn changed(text: &str, change: impl FnOnce(&mut Document) -> Result<(), ConfigError>) -> String {
    let mut document = document(text);
    change(&mut document).unwrap_or_else(|e| panic!("{e}\n{text}"));
    document.text().to_owned()
}

fn set(text: &str, path: &[Step], value: Value) -> String {
    changed(text, |d| d.set(path, &value))
}

const A: Step = Step::Key("a");
const B: Step = Step::Key("b");
const C: Step = Step::Key("c");

#[test]
fn single_values_are_replaced_in_their_place() {
    for (text, want) in [
        ("a: 1 # one\nb: 2\n", "a: new # one\nb: 2\n"),
        ("# top\na:   'x'   # keep\n", "# top\na:   new   # keep\n"),
        ("a:\nb: 2\n", "a: new\nb: 2\n"),
        ("a: # why\nb: 2\n", "a: new # why\nb: 2\n"),
        ("a: ~\n", "a: new\n"),
        ("a: one\n  two\nb: 2\n", "a: new\nb: 2\n"),
        ("a: [1,\n    2] # two\nb: 2\n", "a: new # two\nb: 2\n"),
        ("a: # why\n  - 1 # first\n  # between\n  - 2 # last\nb: 2\n", "a: new # why # last\nb: 2\n"),
        ("a: |  # a text\n  one\n  two\n\n# end\nb: 2\n", "a: new # a text\n\n# end\nb: 2\n"),
        ("{\"a\": 1, \"b\": 2}", "{\"a\": \"new\", \"b\": 2}"),
        ("b: 2\r\na: 1\r\n", "b: 2\r\na: new\r\n"),
        ("\"a\": 1", "\"a\": new"),
        ("é: ü # ä\na: ö # ß\n", "é: ü # ä\na: new # ß\n"),
    ] {
        assert_eq!(set(text, &[A], json!("new")), want, "{text}");
    }
}

#[test]
fn new_keys_come_last_at_their_level() {
    for (text, want) in [
        ("", "a:\n  b: 1\n"),
        ("# nothing yet\n", "# nothing yet\na:\n  b: 1\n"),
        ("{}\n", "a:\n  b: 1\n"),
        ("---\n", "---\na:\n  b: 1\n"),
        ("c: 2 # two\n\n# tail\n", "c: 2 # two\na:\n  b: 1\n\n# tail\n"),
        ("c: 2", "c: 2\na:\n  b: 1"),
        ("a:\n  c: 2\nd: 3\n", "a:\n  c: 2\n  b: 1\nd: 3\n"),
        ("a:\n    c: # deep\n        - 1\n    # after\nd: 3\n", "a:\n    c: # deep\n        - 1\n    b: 1\n    # after\nd: 3\n"),
        ("a: {c: 2} # flow\n", "a: {c: 2, b: 1} # flow\n"),
        ("a: {}\n", "a:\n  b: 1\n"),
        ("a: {c: 2,}\n", "a: {c: 2, b: 1,}\n"),
        ("a: {\n  c: 2\n}\n", "a: {\n  c: 2,\n  b: 1\n}\n"),
        ("a: # why\nd: 3\n", "a: # why\n  b: 1\nd: 3\n"),
        ("a:\n  c: |\n    text\n\nd: 3\n", "a:\n  c: |\n    text\n  b: 1\n\nd: 3\n"),
        ("{\"a\": {\"c\": \"x\"}}\n", "{\"a\": {\"c\": \"x\", \"b\": 1}}\n"),
        ("{\"a\": {}}\n", "{\"a\": {\"b\":1}}\n"),
        ("c: 2\r\nd: 3\r\n", "c: 2\r\nd: 3\r\na:\r\n  b: 1\r\n"),
    ] {
        assert_eq!(set(text, &[A, B], json!(1)), want, "{text}");
    }
}

#[test]
fn lists_grow_and_shrink_by_lines() {
    let push = |text: &str| changed(text, |d| d.push(&[A], &json!("new")));
    for (text, want) in [
        ("a:\n- x # one\n- y\nb: 2\n", "a:\n- x # one\n- y\n- new\nb: 2\n"),
        ("a:\n    - x\n    # tail\n", "a:\n    - x\n    - new\n    # tail\n"),
        ("a:\n  -\n    k: v\n", "a:\n  -\n    k: v\n  - new\n"),
        ("a:\n  -   name: v\n      k: w # x\n", "a:\n  -   name: v\n      k: w # x\n  - new\n"),
        ("a: [x, y] # two\n", "a: [x, y, new] # two\n"),
        ("a: [\n  x,\n  y\n]\n", "a: [\n  x,\n  y,\n  new\n]\n"),
        ("a: []\n", "a: [new]\n"),
        ("b: 2\n", "b: 2\na: [new]\n"),
        ("{\"a\": [\"x\"]}", "{\"a\": [\"x\", \"new\"]}"),
        ("{\"a\": []}", "{\"a\": [\"new\"]}"),
    ] {
        assert_eq!(push(text), want, "{text}");
    }
    let to = |text: &str, value: Value| set(text, &[A], value);
    let text = "a:\n  - x # first\n  # about y\n  - y # second\n  - z\nb: 2\n";
    assert_eq!(to(text, json!(["x", "z", "w"])), "a:\n  - x # first\n  # about y\n  - z\n  - w\nb: 2\n");
    assert_eq!(to(text, json!(["q"])), "a: [q]\nb: 2\n");
    assert_eq!(to("a: [x, y, z]\n", json!(["y"])), "a: [y]\n");
    assert_eq!(to("a: # l\n  - x\n", json!([])), "a: [] # l\n");
    let long: Vec<String> = (0..15).map(|i| format!("model-{i}")).collect();
    assert!(to("a: old # l\nb: 2\n", json!(long)).starts_with("a: # l\n  - model-0\n  - model-1\n"));
}

#[test]
fn entries_and_items_are_taken_away_with_their_lines() {
    let remove = |text: &str, path: &[Step]| changed(text, |d| d.remove(path));
    for (text, path, want) in [
        ("# c\na: 1 # one\nb: 2\n", &[A][..], "# c\nb: 2\n"),
        ("b: 2\na:\n  c: 1\n  b: 2\n# end\n", &[A], "b: 2\n# end\n"),
        ("b:\n  - a: 1\n    c: 2\n", &[B, Step::Item(0), A], "b:\n  - c: 2\n"),
        ("b:\n  - a: 1\n    c: 2\n", &[B, Step::Item(0), C], "b:\n  - a: 1\n"),
        ("b:\n  - a: 1\n  - c: 2\n", &[B, Step::Item(0)], "b:\n  - c: 2\n"),
        ("b:\n  - a: 1\n# x\nc: 3\n", &[B, Step::Item(0)], "b: []\n# x\nc: 3\n"),
        ("b: {a: 1, c: 2}\n", &[B, A], "b: {c: 2}\n"),
        ("b: {a: 1, c: 2}\n", &[B, C], "b: {a: 1}\n"),
        ("b: {a: 1}\n", &[B, A], "b: {}\n"),
        ("b: [1, 2, 3]\n", &[B, Step::Item(2)], "b: [1, 2]\n"),
        ("a: 1\n", &[A], ""),
        ("b: 2\n", &[A], "b: 2\n"),
        ("b: [1]\n", &[B, Step::Item(4)], "b: [1]\n"),
    ] {
        assert_eq!(remove(text, path), want, "{text}");
    }
}

#[test]
fn what_is_not_followed_is_refused_and_left_alone() {
    for (text, path, value) in [
        ("b: &x [1]\na: *x\nc: 2\n", &[B][..], json!([1, 2])),
        ("a: &x\n  c: 1\nb: *x\n", &[A, B], json!(2)),
        ("b: &x 1\na: *x\n", &[A, C], json!(2)),
        ("a: 5\n", &[A, B], json!(2)),
        ("a: [1]\n", &[A, B], json!(2)),
        ("a:\n  - b: 1\n", &[A, Step::Item(7), B], json!(2)),
    ] {
        let mut document = document(text);
        let said = document.set(path, &value).unwrap_err().to_string();
        assert!(said.starts_with("router.yaml"), "{said}");
        assert_eq!(document.text(), text);
    }
    assert!(document("a: 1\n").push(&[A], &json!(1)).unwrap_err().to_string().contains("no list"));
    assert!(Document::new("a: [", Path::new("x.yaml")).is_err());
    // An alias is replaced in its own place only.
    assert_eq!(set("b: &x [1]\na: *x # mine\n", &[A], json!([1, 2])), "b: &x [1]\na: [1, 2] # mine\n");
}

#[test]
fn what_is_said_already_is_not_written_again() {
    let text = "a:   [ x,y ]\nb: 'q'\n";
    assert_eq!(set(text, &[A], json!(["x", "y"])), text);
    assert_eq!(set(text, &[B], json!("q")), text);
}

#[test]
fn literal_secrets_are_masked_and_references_stay() {
    let text = "accounts:\n  - {name: x, api_key: sk-one, headers: {h: sk-two}}\n  - api_key: env:NAME # sk?\n    oauth_refresh_token: \"sk-three\"\n    api_key_env: KEY\nauth:\n  keys: [sk-four, {key: sk-five, name: n}]\n  master: |\n    sk-six\nstore: {url: \"postgres://u:sk-seven@h/d\"}\n";
    let masked = document(text).masked().unwrap();
    for secret in ["sk-one", "sk-two", "sk-three", "sk-four", "sk-five", "sk-six", "sk-seven"] {
        assert!(!masked.contains(secret), "{secret}: {masked}");
    }
    assert!(
        masked.contains("env:NAME # sk?")
            && masked.contains("api_key_env: KEY")
            && masked.contains("name: x")
            && masked.contains("u:***@h"),
        "{masked}"
    );
}

const FILE: &str = "\
# our routing, keep this comment
default_model: gpt-5.2   # the usual one
models:
  - gpt-5.2
accounts:
  # the first of all
  - name: first
    provider: openai
    base_url: http://127.0.0.1:9
    api_key: sk-literal   # will go
    models: [gpt-5.2]
task_routes:
  general: {low: gpt-5.2}
retry_statuses: [429, 503]
";

#[test]
fn accounts_are_added_changed_and_removed() {
    let mut d = document(FILE);
    let mut change = AccountChange {
        name: "second".to_owned(),
        provider: Some("openai".to_owned()),
        base_url: Some("http://h:1".to_owned()),
        secrets: vec![("api_key", AccountSecret::Variable("KEY".to_owned()))],
        models: Some(vec!["gpt-5.2".to_owned(), "gpt-6".to_owned(), "o-*".to_owned()]),
        ..AccountChange::default()
    };
    add_account(&mut d, &change).unwrap();
    let added = FILE
        .replace("    models: [gpt-5.2]\n", "    models: [gpt-5.2]\n  - name: second\n    provider: openai\n    base_url: http://h:1\n    api_key_env: KEY\n    models: [gpt-5.2, gpt-6, \"o-*\"]\n")
        .replace("  - gpt-5.2\naccounts", "  - gpt-5.2\n  - gpt-6\naccounts");
    assert_eq!(d.text(), added);
    add_account(&mut d, &change).unwrap();
    assert_eq!(d.text(), added, "twice is once");
    change.set_default = true;
    change.models = None;
    change.enabled = Some(false);
    add_account(&mut d, &change).unwrap();
    assert_eq!(d.text(), added.replace("[gpt-5.2, gpt-6, \"o-*\"]\n", "[gpt-5.2, gpt-6, \"o-*\"]\n    enabled: false\n"));

    let first = AccountChange { name: "first".to_owned(), secrets: change.secrets.clone(), ..AccountChange::default() };
    add_account(&mut d, &first).unwrap();
    assert!(d.text().contains("    models: [gpt-5.2]\n    api_key_env: KEY\n") && !d.text().contains("sk-literal"), "{}", d.text());
    remove_account(&mut d, "first").unwrap();
    assert!(d.text().contains("accounts:\n  # the first of all\n  - name: second\n"), "{}", d.text());
    remove_account(&mut d, "second").unwrap();
    assert!(d.text().contains("accounts: []\n"), "{}", d.text());
    let said = remove_account(&mut d, "second").unwrap_err().to_string();
    assert!(said.contains("no account second") && !said.contains("add-account"), "{said}");
    let no_model = AccountChange { name: "x".to_owned(), set_default: true, ..AccountChange::default() };
    assert!(add_account(&mut d, &no_model).unwrap_err().to_string().contains("--models"));
}

#[test]
fn models_are_added_to_their_account() {
    let mut d = document(FILE);
    assert_eq!(add_model(&mut d, "gpt-6", "first", true).unwrap(), Vec::<String>::new());
    assert_eq!(
        d.text(),
        FILE.replace("[gpt-5.2]", "[gpt-5.2, gpt-6]")
            .replace("  - gpt-5.2\n", "  - gpt-5.2\n  - gpt-6\n")
            .replace("default_model: gpt-5.2", "default_model: gpt-6")
    );
    let said = add_model(&mut d, "gpt-6", "frist", false).unwrap_err().to_string();
    assert!(said.contains("did you mean first") && said.contains("add it first"), "{said}");
    let open = "accounts: [{name: a}]\n";
    let mut d = document(open);
    assert_eq!(add_model(&mut d, "m", "a", false).unwrap().len(), 1);
    assert_eq!(d.text(), open, "an account that serves any model still does");
    for (text, want) in [
        ("accounts: [{name: a, models: m1}]\nmodels: {m1: {}}\n", "accounts: [{name: a, models: [m1, m]}]\nmodels: {m1: {}, m: {}}\n"),
        ("accounts: [{provider: a, model_map: {x: y}}]\n", "accounts: [{provider: a, model_map: {x: y}, models: [m]}]\n"),
        ("accounts: [{name: a, models: [m]}]\nmodels: [{id: m}]\n", "accounts: [{name: a, models: [m]}]\nmodels: [{id: m}]\n"),
    ] {
        assert_eq!(changed(text, |d| add_model(d, "m", "a", false).map(drop)), want);
    }
}

#[test]
fn routes_fallbacks_and_weights_are_set() {
    let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
    let mut d = document(FILE);
    assert!(set_route(&mut d, "coding", "high", &names(&["gpt-5.2"])).unwrap().is_empty());
    assert!(set_route(&mut d, "general", "low", &names(&["a", "b"])).unwrap().is_empty());
    assert!(d.text().contains("task_routes:\n  general: {low: [a, b]}\n  coding:\n    high: gpt-5.2\nretry"), "{}", d.text());
    assert!(set_route(&mut d, "codng", "low", &names(&["a"])).unwrap()[0].contains("did you mean coding"));
    let said = set_route(&mut d, "coding", "gigantic", &names(&["a"])).unwrap_err().to_string();
    assert!(said.contains("tier") && said.contains("xhigh"), "{said}");

    let mut d = document(FILE);
    set_fallbacks(&mut d, &names(&["a", "b"]), false).unwrap();
    set_fallbacks(&mut d, &names(&["b", "c"]), true).unwrap();
    assert_eq!(d.text(), format!("{FILE}fallback_models: [a, b, c]\n"));
    set_fallbacks(&mut d, &names(&["c"]), false).unwrap();
    assert_eq!(d.text(), format!("{FILE}fallback_models: [c]\n"));

    let mut d = document(FILE);
    let profile = Profile { quality_bias: Some(-0.5), cost_input_per_1k: Some(0.0001), latency_ms: Some(800.0), ..Profile::default() };
    set_profile(&mut d, "gpt-5.2", &profile).unwrap();
    set_candidates(&mut d, "coding", &names(&["gpt-5.2", "b"]), true).unwrap();
    let learned = Learned {
        bias: Some(-4.0),
        default_output_tokens: Some(512),
        utility_cost: Some(12.0),
        features: vec![("code_score".to_owned(), 0.2), ("task_coding".to_owned(), 1.0)],
        ..Learned::default()
    };
    set_learned(&mut d, &learned).unwrap();
    set_learned(&mut d, &Learned { clear_features: true, features: vec![("has_image".to_owned(), 1.5)], ..Learned::default() }).unwrap();
    let want = "model_profiles:\n  gpt-5.2:\n    quality_bias: -0.5\n    cost_input_per_1k: 0.0001\n    latency_ms: 800\nlearned_routing:\n  task_candidates:\n    coding: [gpt-5.2, b]\n  enabled: true\n  bias: -4\n  default_output_tokens: 512\n  utility_weights:\n    cost: 12\n  feature_weights:\n    has_image: 1.5\n";
    assert_eq!(d.text(), format!("{FILE}{want}"));
    assert!(set_profile(&mut d, "m", &Profile::default()).is_err());
    assert!(set_profile(&mut d, "m", &Profile { failure_rate: Some(1.5), ..Profile::default() }).is_err());
    assert!(set_learned(&mut d, &Learned::default()).is_err());
    let odd = Learned { features: vec![("code_skore".to_owned(), 1.0)], ..Learned::default() };
    assert!(set_learned(&mut d, &odd).unwrap_err().to_string().contains("did you mean code_score"));
    assert_eq!(d.text(), format!("{FILE}{want}"), "what is refused changes nothing");
}

/// A file of a random form.
fn files() -> impl Strategy<Value = String> {
    let scalar = prop_oneof!["[a-z]{1,6}", "[0-9]{1,3}", Just("'it''s'".to_owned()), Just("\"q: #\"".to_owned()), Just("~".to_owned())];
    let comment = prop_oneof![3 => Just(String::new()), 1 => "[a-z :\\-]{0,8}".prop_map(|c| format!(" #{c}").trim_end().to_owned())];
    let value = (scalar, comment, prop::bool::weighted(0.2));
    let value = value.prop_map(|(value, comment, gap)| (format!("{value}{comment}"), if gap { "# gap\n\n" } else { "" }));
    let key = prop::sample::subsequence(vec!["a", "b", "c", "d"], 1..=4);
    let parts = prop::collection::vec((0..7_u8, key.clone(), prop::collection::vec(value, 4)), 4);
    (key, parts, prop::sample::select(vec!["\n", "\r\n"])).prop_map(|(keys, parts, end)| {
        let parts = keys.iter().zip(parts).map(|(name, (shape, below, values))| part(name, shape, &below, &values));
        parts.collect::<Vec<_>>().concat().replace('\n', end)
    })
}

/// One key with something below it.
fn part(name: &str, shape: u8, below: &[&str], values: &[(String, &str)]) -> String {
    let of_keys = |line: &dyn Fn(&str) -> String| below.iter().map(|key| line(key)).collect::<Vec<_>>().concat();
    match shape {
        0 => format!("{name}: {}\n", values[0].0),
        1 => format!("{name}: [{}]\n", below.join(", ")),
        2 => format!("{name}: {{{}: 1}} # f\n", below.join(": 1, ")),
        3 => {
            let items: Vec<String> = values.iter().map(|(value, gap)| format!("{gap}- {value}\n")).collect();
            format!("{name}:\n{}", items.concat())
        }
        4 => {
            let entries: Vec<String> = below.iter().zip(values).map(|(key, (value, gap))| format!("{gap}  {key}: {value}\n")).collect();
            format!("{name}: # m\n{}\n", entries.concat())
        }
        5 => format!("{name}:\n{}", of_keys(&|key| format!("  - a: {key} # i\n    b: [x]\n"))),
        _ => format!("{name}: |\n  one\n   two # no comment\n\n"),
    }
}

/// The lines from a key to the end of its value.
fn lines_of(document: &Document, path: &[Step]) -> usize {
    let Some((Step::Key(key), parent)) = path.split_last() else { return 0 };
    let root = document.root().unwrap();
    let Some(parent) = parent.iter().try_fold(&root, |piece, step| splice::below(piece, step)) else { return 0 };
    let Shape::Map { entries, .. } = &parent.shape else { return 0 };
    entries.iter().find(|e| e.name == *key).map_or(0, |e| document.text()[e.key.start..e.value.span.end].lines().count())
}

fn lines_kept(before: &str, after: &str) -> usize {
    let after: Vec<&str> = after.split_inclusive('\n').collect();
    let before: Vec<&str> = before.split_inclusive('\n').collect();
    let same = |a: &&str, b: &&str| a.trim_end_matches(['\r', '\n']) == b.trim_end_matches(['\r', '\n']);
    let first = before.iter().zip(&after).take_while(|(a, b)| same(a, b)).count();
    let most = before.len().min(after.len()) - first;
    first + before.iter().rev().zip(after.iter().rev()).take(most).take_while(|(a, b)| same(a, b)).count()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn an_edit_keeps_every_other_line(text in files(), key in "[a-e]", below in prop::option::of("[a-e]"), value in prop_oneof![Just(json!("new")), Just(json!(["x", "new"])), Just(json!({"k": ["v"]})), Just(json!(7))], push in any::<bool>()) {
        let Ok(mut d) = Document::new(text.clone(), Path::new("f.yaml")) else { return Ok(()) };
        let path: Vec<Step> = [Some(Step::Key(key.as_str())), below.as_deref().map(Step::Key)].into_iter().flatten().collect();
        let held = d.get(&path).cloned();
        let lines_held = lines_of(&d, &path);
        let done = if push { d.push(&path, &value) } else { d.set(&path, &value) };
        match done {
            Ok(()) => {
                let wanted = d.get(&path).cloned().unwrap_or_default();
                if push { prop_assert_eq!(wanted.as_array().and_then(|l| l.last()), Some(&value)) } else { prop_assert_eq!(wanted, value) }
                // Everything before and after the one value is there, byte for byte.
                let before = text.split_inclusive('\n').count();
                let changed = if push || held.is_none() { 1 } else { lines_held };
                prop_assert!(lines_kept(&text, d.text()) + changed >= before, "{}\n---\n{}", text, d.text());
            }
            Err(_) => {
                prop_assert_eq!(d.text(), text.as_str());
                // What stands in the way is a value of another kind.
                let parent = d.get(&path[..1]);
                prop_assert!((path.len() == 2 && parent.is_some_and(|v| !v.is_object())) || (push && held.is_some_and(|v| !v.is_array())), "{}", text);
            }
        }
    }

    #[test]
    fn no_text_panics(text in "[a-c:\\- #\\[\\]{},&*|\n\"]{0,60}", key in "[a-c]", at in 0..3_usize) {
        let Ok(mut d) = Document::new(text, Path::new("f.yaml")) else { return Ok(()) };
        let _ = d.set(&[Step::Key(&key)], &json!([1]));
        let _ = d.push(&[Step::Key(&key)], &json!({"a": 1}));
        let _ = d.set(&[Step::Key(&key), Step::Item(at), Step::Key("b")], &json!(1));
        let _ = d.remove(&[Step::Key(&key), Step::Item(at)]);
        let _ = d.remove(&[Step::Key(&key)]);
        let _ = d.masked();
    }
}
