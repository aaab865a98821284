//! Tickets: with one, a node may have one model's files of another node for a while, without the secret that they hold with their router.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// A ticket for the files of `model` until `expires_s` (unix seconds), made with the secret of the node that gives them.
pub fn sign(secret: &str, model: &str, expires_s: u64) -> String {
    use std::fmt::Write as _;
    mac(secret, model, expires_s).finalize().into_bytes().iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Whether `ticket` is good at `now_s`; compared in constant time.
pub fn is_good(secret: &str, model: &str, expires_s: u64, ticket: &str, now_s: u64) -> bool {
    let digits = |at: usize| ticket.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    let Some(shown) = (0..ticket.len()).step_by(2).map(digits).collect::<Option<Vec<u8>>>() else { return false };
    !secret.is_empty() && now_s < expires_s && mac(secret, model, expires_s).verify_slice(&shown).is_ok()
}

fn mac(secret: &str, model: &str, expires_s: u64) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("a key may have any length");
    mac.update(format!("model files\n{model}\n{expires_s}").as_bytes());
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_for_one_model_one_node_and_a_while() {
        let ticket = sign("secret", "tiny", 100);
        assert!(is_good("secret", "tiny", 100, &ticket, 99));
        for (secret, model, expires, now) in [
            ("other", "tiny", 100, 99),
            ("secret", "other", 100, 99),
            ("secret", "tiny", 101, 99),
            ("secret", "tiny", 100, 100),
            ("", "tiny", 100, 99),
        ] {
            assert!(!is_good(secret, model, expires, &ticket, now), "{secret} {model} {expires} {now}");
        }
        for wrong in ["", "zz", "abc", &ticket[1..], &format!("{ticket}00")] {
            assert!(!is_good("secret", "tiny", 100, wrong, 99), "{wrong}");
        }
        assert!(!is_good("", "tiny", 100, &sign("", "tiny", 100), 99));
    }
}
