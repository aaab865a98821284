//! Lines, written a piece at a time.

use std::io::{self, Write};

/// Most bytes of one write, unless a single line is longer. For a larger write the kernel takes larger blocks of fresh memory to hold
/// it, which on a virtual machine may have to be fetched from the host first: measured ten times as expensive per byte with 256 KiB as
/// with 64 KiB.
const PIECE_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a file that the kernel holds at least together.
const PAGE_BYTES: usize = 4 * 1024;

/// Bytes of the next write into a file of this length, if it is to end about where a piece of the file ends. The kernel holds such a piece
/// as one; written across its ends, the same bytes take twice the time.
pub(crate) fn room(length: u64) -> usize {
    let used = (length % PIECE_BYTES_MAX as u64) as usize;
    // What is left of a page comes with the piece behind it.
    if PIECE_BYTES_MAX - used < PAGE_BYTES { 2 * PIECE_BYTES_MAX - used } else { PIECE_BYTES_MAX - used }
}

/// Writes `lines`, each with its line break, in pieces that end with a line: a file that is changed between two writes cuts none.
///
/// # Errors
/// The sink's; what was written before stays.
pub(crate) fn write_lines(sink: &mut dyn Write, mut lines: &[u8]) -> io::Result<()> {
    while !lines.is_empty() {
        let (piece, rest) = lines.split_at(piece_bytes(lines, PIECE_BYTES_MAX));
        sink.write_all(piece)?;
        lines = rest;
    }
    sink.flush()
}

/// Bytes of the lines that are whole within the first `most`; of the first line, where that is longer.
pub(crate) fn piece_bytes(lines: &[u8], most: usize) -> usize {
    let Some((most, more)) = lines.split_at_checked(most) else { return lines.len() };
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
    fn the_next_write_ends_about_where_a_piece_of_the_file_ends() {
        let piece = PIECE_BYTES_MAX as u64;
        assert_eq!([0, 1, piece - 4096, piece].map(room), [65_536, 65_535, 4096, 65_536]);
        assert_eq!([piece - 4095, 3 * piece - 1].map(room), [65_536 + 4095, 65_537]);
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
