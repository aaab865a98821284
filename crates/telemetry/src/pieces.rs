//! Lines, written a piece at a time.

use std::io::{self, Write};

/// Most bytes of one write, unless a single line is longer. For a larger write the kernel takes larger blocks of fresh memory to hold
/// it, which on a virtual machine may have to be fetched from the host first: measured ten times as expensive per byte with 256 KiB as
/// with 64 KiB.
const PIECE_BYTES_MAX: usize = 64 * 1024;

/// Writes `lines`, each with its line break, in pieces that end with a line: a file that is changed between two writes cuts none.
///
/// # Errors
/// The sink's; what was written before stays.
pub(crate) fn write_lines(sink: &mut dyn Write, mut lines: &[u8]) -> io::Result<()> {
    while !lines.is_empty() {
        let (piece, rest) = lines.split_at(piece_bytes(lines));
        sink.write_all(piece)?;
        lines = rest;
    }
    sink.flush()
}

fn piece_bytes(lines: &[u8]) -> usize {
    let Some((most, more)) = lines.split_at_checked(PIECE_BYTES_MAX) else { return lines.len() };
    let ends = |byte: &u8| *byte == b'\n';
    let last = most.iter().rposition(ends).or_else(|| more.iter().position(ends).map(|at| most.len() + at));
    last.map_or(lines.len(), |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keeps every write by itself.
    struct Pieces(Vec<Vec<u8>>);

    impl Write for Pieces {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.push(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn pieces_end_with_a_line_and_are_no_larger_than_they_have_to_be() {
        let mut lines: Vec<u8> = (0..9000).flat_map(|n| format!("line {n}\n").into_bytes()).collect();
        lines.extend_from_slice(&vec![b'x'; 2 * PIECE_BYTES_MAX]);
        lines.extend_from_slice(b"\nlast\nand without an end");
        let mut sink = Pieces(Vec::new());
        write_lines(&mut sink, &lines).unwrap();
        assert_eq!(sink.0.concat(), lines);
        let (last, others) = sink.0.split_last().unwrap();
        assert!(others.iter().all(|piece| piece.ends_with(b"\n")));
        assert!(last.ends_with(b"end"));
        let is_single = |piece: &Vec<u8>| piece.split(|byte| *byte == b'\n').count() == 2;
        assert!(others.iter().all(|piece| piece.len() <= PIECE_BYTES_MAX || is_single(piece)));
    }
}
