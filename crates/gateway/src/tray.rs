//! The icon in the notification area of Windows and macOS: what it offers and does. What speaks to the system is in `tray/desktop.rs` and is
//! compiled there only, with the feature `tray`; everything that can be wrong is here.

#[cfg(all(feature = "tray", any(windows, target_os = "macos")))]
pub mod desktop;

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Longest time between two clicks that are one double click.
const DOUBLE_CLICK: Duration = Duration::from_millis(500);

/// Width and height of the icon, pixels.
pub const ICON_SIDE: u32 = 32;

/// What somebody wants of the icon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    OpenDashboard,
    OpenPlayground,
    /// Finish what is under way, then end.
    Quit,
}

/// The menu: id, words, what it does.
pub const MENU: [(&str, &str, Action); 3] = [
    ("dashboard", "Open dashboard", Action::OpenDashboard),
    ("playground", "Open playground", Action::OpenPlayground),
    ("quit", "Quit LLM Router", Action::Quit),
];

/// What the menu's entry with this id does.
pub fn of_menu(id: &str) -> Option<Action> {
    MENU.iter().find(|(known, ..)| *known == id).map(|(.., action)| *action)
}

/// Clicks that become double clicks, where the system does not say so itself.
#[derive(Debug, Default)]
pub struct Clicks {
    last: Option<Instant>,
}

impl Clicks {
    /// A click at this time. Two close to each other open the dashboard, and a third begins anew.
    pub fn click(&mut self, now: Instant) -> Option<Action> {
        let is_second = self.last.is_some_and(|last| now.saturating_duration_since(last) <= DOUBLE_CLICK);
        self.last = (!is_second).then_some(now);
        is_second.then_some(Action::OpenDashboard)
    }
}

/// The page behind an action; `None`: it has none.
pub fn page(url: &str, action: Action) -> Option<String> {
    match action {
        Action::OpenDashboard => Some(format!("{url}/dashboard")),
        Action::OpenPlayground => Some(format!("{url}/playground")),
        Action::Quit => None,
    }
}

/// What opens an address in the usual browser of a system, as `std::env::consts::OS` names it.
pub fn opener(system: &str) -> &'static [&'static str] {
    match system {
        "macos" => &["open"],
        // Not `start`: a shell would read the address.
        "windows" => &["rundll32", "url.dll,FileProtocolHandler"],
        _ => &["xdg-open"],
    }
}

/// Opens an address in a browser. Where there is none, nothing happens.
pub fn open_browser(address: &str) {
    let words = opener(std::env::consts::OS);
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).arg(address).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if let Err(error) = command.spawn() {
        tracing::debug!(%error, "no browser could be opened");
    }
}

/// The icon: one line that comes in and three that go out, as red, green, blue and alpha, row by row.
pub fn icon() -> Vec<u8> {
    let side = i64::from(ICON_SIDE);
    let pixel = |x: i64, y: i64| {
        let middle = side / 2;
        // In thirds of the height: the upper and the lower way leave the middle at a slope.
        let ways = [0, (middle - x) * 2 / 3, (x - middle) * 2 / 3];
        let is_way = x >= middle && ways.iter().any(|rise| (y - middle - rise).abs() <= 1);
        let is_line = x < middle && (y - middle).abs() <= 1;
        let is_hub = (x - middle).pow(2) + (y - middle).pow(2) <= 25;
        let is_inside = (2..side - 2).contains(&x) && (2..side - 2).contains(&y);
        if is_inside && (is_way || is_line || is_hub) { [0x3b, 0x82, 0xf6, 0xff] } else { [0; 4] }
    };
    (0..side).flat_map(|y| (0..side).flat_map(move |x| pixel(x, y))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_menu_does_what_it_says() {
        for (id, words, action) in MENU {
            assert_eq!(of_menu(id), Some(action));
            assert!(!words.is_empty());
        }
        assert_eq!(of_menu("another"), None);
        assert_eq!(page("http://h:1", Action::OpenDashboard).as_deref(), Some("http://h:1/dashboard"));
        assert_eq!(page("http://h:1", Action::OpenPlayground).as_deref(), Some("http://h:1/playground"));
        assert_eq!(page("http://h:1", Action::Quit), None);
    }

    #[test]
    fn two_clicks_close_to_each_other_open_the_dashboard() {
        let (mut clicks, start) = (Clicks::default(), Instant::now());
        let at = |ms: u64| start + Duration::from_millis(ms);
        assert_eq!(clicks.click(at(0)), None);
        assert_eq!(clicks.click(at(300)), Some(Action::OpenDashboard));
        assert_eq!(clicks.click(at(400)), None, "the third begins anew");
        assert_eq!(clicks.click(at(1000)), None, "too late");
        assert_eq!(clicks.click(at(1500)), Some(Action::OpenDashboard));
    }

    #[test]
    fn each_system_has_its_opener() {
        assert_eq!(opener("windows")[0], "rundll32");
        assert_eq!((opener("macos"), opener("linux")), (&["open"][..], &["xdg-open"][..]));
    }

    #[test]
    fn the_icon_is_a_picture_with_a_clear_edge() {
        let (icon, side) = (icon(), ICON_SIDE as usize);
        assert_eq!(icon.len(), 4 * side * side);
        let alpha = |x: usize, y: usize| icon[4 * (y * side + x) + 3];
        assert!((0..side).all(|n| alpha(n, 0) == 0 && alpha(0, n) == 0 && alpha(n, side - 1) == 0 && alpha(side - 1, n) == 0));
        assert!(alpha(side / 2, side / 2) == 255 && alpha(4, side / 2) == 255 && alpha(side - 4, side / 2) == 255);
    }
}
