//! Checks of the service files in `packaging/`: nothing here runs them.

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf, process::Command};

    use crate::{environment, paths};

    /// A unit's lines by section, comments left out.
    fn unit(name: &str) -> Vec<(String, String)> {
        let text = fs::read_to_string(folder().join("systemd").join(name)).expect("the unit");
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with(['#', '[']));
        lines.map(|line| line.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned())).expect("an assignment")).collect()
    }

    fn folder() -> PathBuf {
        paths::root().join("packaging")
    }

    #[test]
    fn units_are_what_systemd_takes() {
        if environment::which("systemd-analyze").is_none() {
            return;
        }
        // The programs are not installed on the machine that checks; everything else has to be right.
        let home = tempfile::tempdir().expect("a folder");
        for name in ["llm-router.service", "llm-node.service"] {
            let text = fs::read_to_string(folder().join("systemd").join(name)).expect("the unit");
            let there = home.path().join(name);
            fs::write(&there, text.replace("/usr/local/bin/llm-router", "/bin/true").replace("/usr/local/bin/llm-node", "/bin/true"))
                .expect("written");
            let checked = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&there).output().expect("it runs");
            let said = String::from_utf8_lossy(&checked.stderr);
            let about_it: Vec<&str> = said.lines().filter(|line| line.contains(name)).collect();
            assert!(about_it.is_empty(), "{name}: {about_it:?}");
        }
    }

    #[test]
    fn services_have_no_more_rights_than_they_need_and_time_to_finish() {
        for name in ["llm-router.service", "llm-node.service"] {
            let lines = unit(name);
            let value = |key: &str| lines.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
            for key in [
                "DynamicUser",
                "NoNewPrivileges",
                "PrivateTmp",
                "ProtectHome",
                "ProtectKernelModules",
                "RestrictSUIDSGID",
                "LockPersonality",
            ] {
                assert_eq!(value(key), Some("yes"), "{name}: {key}");
            }
            assert_eq!(
                (value("ProtectSystem"), value("CapabilityBoundingSet"), value("UMask")),
                (Some("strict"), Some(""), Some("0077")),
                "{name}"
            );
            assert_eq!(value("RestartPreventExitStatus"), Some("2 78"), "{name}: a wrong configuration is not tried again");
            assert_eq!(value("TimeoutStopSec"), Some("60s"), "{name}");
        }
    }

    #[test]
    fn the_others_start_what_is_installed() {
        let plist = fs::read_to_string(folder().join("launchd/com.llm-router.router.plist")).expect("the file");
        let opened = plist.matches("<dict>").count() + plist.matches("<array>").count();
        let closed = plist.matches("</dict>").count() + plist.matches("</array>").count();
        assert!(opened == closed && plist.contains("<string>/usr/local/bin/llm-router</string>"));
        let windows = fs::read_to_string(folder().join("windows/llm-router.xml")).expect("the file");
        assert!(windows.contains("llm-router.exe</executable>") && windows.trim_end().ends_with("</service>"));
    }
}
