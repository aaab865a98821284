//! The dashboard's files: who gets what, and under which rules. Holds for a build with them and for one without.

use crate::router::Setup;

#[tokio::test]
async fn places_are_one_page_and_what_is_no_file_is_not_found() {
    let router = Setup::new().start();
    for place in ["/dashboard", "/dashboard/", "/dashboard/requests/chatcmpl-1.5", "/playground", "/playground/x"] {
        let page = router.get(place).nobody().send().await;
        assert_eq!(page.status, 200, "{place}: {}", page.text());
        assert!(page.header("content-type").starts_with("text/html"), "{place}");
        let policy = page.header("content-security-policy");
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{place}: {policy}");
    }
    for nothing in [
        "/dashboard/nope.js",
        "/dashboard/assets/nope.css",
        "/playground/nope.js",
        "/dashboard/../secrets.txt",
        "/dashboard/..%2f..%2fpackage.js",
    ] {
        let answer = router.get(nothing).nobody().send().await;
        assert_eq!((answer.status, answer.code().as_str()), (404, "not_found"), "{nothing}: {}", answer.text());
    }
}

#[tokio::test]
async fn a_page_that_the_browser_has_is_not_sent_again() {
    let router = Setup::new().start();
    let first = router.get("/dashboard").nobody().send().await;
    let Some(tag) = first.headers.get("etag").and_then(|tag| tag.to_str().ok()) else {
        assert!(first.text().contains("cargo xtask ui"), "{}", first.text());
        return;
    };
    assert_eq!(first.header("cache-control"), "no-cache");
    let again = router.get("/dashboard").nobody().header("if-none-match", tag).send().await;
    assert_eq!((again.status, again.body.len()), (304, 0));
    let script = first.text().split("/dashboard/assets/").nth(1).and_then(|rest| rest.split('"').next()).map(str::to_owned).unwrap();
    let plain = router.get(&format!("/dashboard/assets/{script}")).nobody().send().await;
    assert!(plain.header("cache-control").contains("immutable"), "{script}");
    let small = router.get(&format!("/dashboard/assets/{script}")).nobody().header("accept-encoding", "gzip, br").send().await;
    assert_eq!(small.header("content-encoding"), "br", "{script}");
    assert!(small.body.len() < plain.body.len(), "{script}");
}
