//! Tensor infos: checked, so that a cut file is named as such before an engine maps it.

use std::io::{Read, Seek};

use super::{GgufError, source::Source};

/// Most dimensions of a tensor.
const DIMENSIONS_MAX: u32 = 4;
/// Largest accepted alignment, in bytes.
const ALIGNMENT_MAX: u64 = 1 << 20;

/// Reads `count` tensor infos and checks that the data of all lies inside the file. Gives the bytes of tensor data.
pub(super) fn check<R: Read + Seek>(source: &mut Source<R>, count: u64, alignment: u64) -> Result<u64, GgufError> {
    if !alignment.is_power_of_two() || alignment > ALIGNMENT_MAX {
        return Err(GgufError::Damaged(format!("an alignment of {alignment} bytes")));
    }
    let mut data_bytes = 0;
    for _ in 0..count {
        data_bytes = read(source, alignment)?.max(data_bytes);
    }
    if count == 0 {
        return Ok(0);
    }
    let end = source.at().next_multiple_of(alignment).saturating_add(data_bytes);
    if end > source.length() {
        return Err(GgufError::Truncated { what: "the tensor data", end, length: source.length() });
    }
    Ok(data_bytes)
}

/// One tensor info; gives the end of its data, counted from the start of the data.
fn read<R: Read + Seek>(source: &mut Source<R>, alignment: u64) -> Result<u64, GgufError> {
    let name = source.string("a tensor's name", u64::from(u16::MAX))?;
    let damaged = |what: &str| GgufError::Damaged(format!("tensor `{}`: {what}", name.chars().take(64).collect::<String>()));
    let dimensions = source.u32("a tensor's dimensions")?;
    if dimensions > DIMENSIONS_MAX {
        return Err(damaged(&format!("{dimensions} dimensions; at most {DIMENSIONS_MAX} are read")));
    }
    let mut elements = 1u64;
    for _ in 0..dimensions {
        let length = source.u64("a tensor's shape")?;
        elements = elements.checked_mul(length).ok_or_else(|| damaged("its shape overflows"))?;
    }
    let kind = source.u32("a tensor's type")?;
    let offset = source.u64("a tensor's offset")?;
    if offset % alignment != 0 {
        return Err(damaged(&format!("offset {offset} is no multiple of the alignment {alignment}")));
    }
    let bytes = match block(kind) {
        Some((block_elements, block_bytes)) => {
            (elements / block_elements).checked_mul(block_bytes).ok_or_else(|| damaged("its size overflows"))?
        }
        // A type that came after this build: its size is the engine's affair.
        None => 0,
    };
    offset.checked_add(bytes).ok_or_else(|| damaged("its data would end beyond all files"))
}

/// (elements, bytes) of one block of a tensor type.
const fn block(kind: u32) -> Option<(u64, u64)> {
    Some(match kind {
        0 | 26 => (1, 4),
        1 | 25 | 30 => (1, 2),
        2 | 20 => (32, 18),
        3 => (32, 20),
        6 => (32, 22),
        7 => (32, 24),
        8 => (32, 34),
        9 => (32, 36),
        10 => (256, 84),
        11 | 21 => (256, 110),
        12 => (256, 144),
        13 => (256, 176),
        14 => (256, 210),
        15 => (256, 292),
        16 | 35 => (256, 66),
        17 => (256, 74),
        18 => (256, 98),
        19 => (256, 50),
        22 => (256, 82),
        23 => (256, 136),
        24 => (1, 1),
        27 | 28 => (1, 8),
        29 => (256, 56),
        34 => (256, 54),
        39 => (32, 17),
        _ => return None,
    })
}
