//! The icon itself. It lives on the process's first thread, where both systems want it; the router serves on others.

use std::{process::ExitCode, sync::Mutex, thread, time::Instant};

use tokio_util::sync::CancellationToken;
use tray_icon::{
    Icon, MouseButton, MouseButtonState, TrayIcon, TrayIconBuilder, TrayIconEvent,
    menu::{Menu, MenuEvent, MenuItem},
};

use super::{Action, Clicks, ICON_SIDE, MENU};

/// Shows the icon while `serving` runs on a thread of its own; the process ends with what that gives. `quit` is cancelled where somebody
/// wants the router to end.
///
/// # Errors
/// The system shows no icon, in words; then `serving` was not begun.
pub fn run(url: String, quit: CancellationToken, serving: impl FnOnce() -> ExitCode + Send + 'static) -> Result<(), String> {
    let _icon = show(url, quit)?;
    thread::Builder::new()
        .name("serving".to_owned())
        .spawn(move || {
            let ended = serving();
            // The loop of the first thread never ends by itself.
            std::process::exit(i32::from(ended != ExitCode::SUCCESS));
        })
        .map_err(|error| error.to_string())?;
    follow_events()
}

fn show(url: String, quit: CancellationToken) -> Result<TrayIcon, String> {
    let act = move |action: Action| match super::page(&url, action) {
        Some(page) => super::open_browser(&page),
        None => quit.cancel(),
    };
    let of_icon = act.clone();
    let clicks = Mutex::new(Clicks::default());
    TrayIconEvent::set_event_handler(Some(move |event| {
        let action = match event {
            TrayIconEvent::DoubleClick { button: MouseButton::Left, .. } => Some(Action::OpenDashboard),
            // Only Windows says by itself that a click was a double one.
            TrayIconEvent::Click { button: MouseButton::Left, button_state: MouseButtonState::Up, .. } if cfg!(target_os = "macos") => {
                clicks.lock().ok().and_then(|mut clicks| clicks.click(Instant::now()))
            }
            _ => None,
        };
        action.into_iter().for_each(&of_icon);
    }));
    MenuEvent::set_event_handler(Some(move |event: MenuEvent| super::of_menu(event.id().as_ref()).into_iter().for_each(&act)));
    let menu = Menu::new();
    for (id, words, _) in MENU {
        menu.append(&MenuItem::with_id(id, words, true, None)).map_err(|error| error.to_string())?;
    }
    let icon = Icon::from_rgba(super::icon(), ICON_SIDE, ICON_SIDE).map_err(|error| error.to_string())?;
    TrayIconBuilder::new()
        .with_icon(icon)
        .with_tooltip("LLM Router")
        .with_menu(Box::new(menu))
        .with_menu_on_left_click(false)
        .build()
        .map_err(|error| error.to_string())
}

/// Windows hands events to a window's thread; this window is never shown.
#[cfg(windows)]
fn follow_events() -> Result<(), String> {
    use winsafe::{co, gui};
    let window = gui::WindowMain::new(gui::WindowMainOpts { title: "LLM Router", style: co::WS::CAPTION, ..Default::default() });
    window.run_main(Some(co::SW::HIDE)).map(drop).map_err(|error| error.to_string())
}

#[cfg(target_os = "macos")]
fn follow_events() -> Result<(), String> {
    use objc2::MainThreadMarker;
    use objc2_app_kit::{NSApplication, NSApplicationActivationPolicy};
    let main = MainThreadMarker::new().ok_or("this is not the first thread")?;
    let application = NSApplication::sharedApplication(main);
    // No place among the running programs: the icon is all there is.
    application.setActivationPolicy(NSApplicationActivationPolicy::Accessory);
    application.run();
    Ok(())
}
