//! Fingerprints as hexadecimal text.

use std::{
    fmt::Write as _,
    io::{self, Read, Write},
};

use sha2::{Digest, Sha256};

const COPY_BUFFER_BYTES: usize = 1 << 20;

/// The sha256 of `bytes`.
pub(crate) fn of(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Copies and returns the number of bytes and their sha256.
pub(crate) fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<(u64, String)> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; COPY_BUFFER_BYTES];
    let mut bytes = 0;
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            return Ok((bytes, hex(&hasher.finalize())));
        }
        hasher.update(&buffer[..read]);
        to.write_all(&buffer[..read])?;
        bytes += read as u64;
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_the_fingerprint_of_its_bytes() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let mut copied = Vec::new();
        assert_eq!(copy(&mut b"abc".as_slice(), &mut copied).expect("copies"), (3, abc.to_owned()));
        assert_eq!((copied.as_slice(), of(b"abc").as_str()), (b"abc".as_slice(), abc));
    }
}
