//! The header of a Linux program that laying it out takes away (ELF-64 Object File Format 1.5, "Program Header"; `PT_GNU_STACK`: Linux Standard
//! Base 5.0, "Program Header").

use std::{fs, ops::Range, path::Path};

use anyhow::{Context, Result, bail, ensure};

const PT_NOTE: u32 = 4;
const PT_GNU_STACK: u32 = 0x6474_e551;
const PF_W: u32 = 2;
const PF_R: u32 = 4;

/// Says again that no code runs on the stacks of a program that BOLT laid out: it puts its own segment in the place of that header, and without
/// one glibc lets code run on every thread's stack. It takes the place of the notes' header: they are found by their section, too.
pub(crate) fn forbid_code_on_stacks(program: &Path) -> Result<()> {
    let mut bytes = fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    forbid(&mut bytes).with_context(|| format!("{} would run with code on its stacks", program.display()))?;
    fs::write(program, bytes).with_context(|| format!("cannot write {}", program.display()))
}

fn forbid(bytes: &mut [u8]) -> Result<()> {
    let headers = headers(bytes)?;
    let is = |kind: u32| headers.iter().find(|at| number(bytes, at.start) == Some(kind)).cloned();
    let place = is(PT_GNU_STACK).or_else(|| is(PT_NOTE)).context("no program header's place can be taken")?;
    let header = bytes.get_mut(place).context("a program header ends before its end")?;
    // Where it stands and how large it is says nothing of a stack.
    header.fill(0);
    header[..4].copy_from_slice(&PT_GNU_STACK.to_le_bytes());
    header[4..8].copy_from_slice(&(PF_R | PF_W).to_le_bytes());
    Ok(())
}

/// Where the program headers stand.
fn headers(bytes: &[u8]) -> Result<Vec<Range<usize>>> {
    ensure!(bytes.starts_with(b"\x7fELF\x02\x01"), "it is no ELF program of 64 bits, least byte first");
    let short = |at: usize| bytes.get(at..at + 2).map(|b| usize::from(u16::from_le_bytes([b[0], b[1]])));
    let (Some(first), Some(size), Some(count)) = (number(bytes, 32), short(54), short(56)) else { bail!("its header is cut off") };
    ensure!(size >= 8, "its program headers have {size} bytes");
    Ok((0..count).map(|n| first as usize + n * size).map(|start| start..start + size).collect())
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PF_X: u32 = 1;

    /// A program of these headers (kind, flags) and nothing else.
    fn program(headers: &[(u32, u32)]) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[32] = 64;
        bytes[54] = 56;
        bytes[56] = headers.len() as u8;
        for (kind, flags) in headers {
            bytes.extend([kind.to_le_bytes(), flags.to_le_bytes()].concat());
            bytes.extend([7; 48]);
        }
        bytes
    }

    fn kinds(bytes: &[u8]) -> Vec<(u32, u32)> {
        let at = |n| number(bytes, n).expect("it is there");
        headers(bytes).expect("a program").into_iter().map(|header| (at(header.start), at(header.start + 4))).collect()
    }

    #[test]
    fn the_header_is_there_afterwards_and_the_others_are_as_they_were() {
        let mut without = program(&[(1, 5), (PT_NOTE, PF_R), (1, 6)]);
        forbid(&mut without).expect("there is a place");
        assert_eq!(kinds(&without), [(1, 5), (PT_GNU_STACK, PF_R | PF_W), (1, 6)]);
        let mut with = program(&[(PT_NOTE, PF_R), (PT_GNU_STACK, PF_R | PF_W | PF_X)]);
        forbid(&mut with).expect("it is there");
        assert_eq!(kinds(&with), [(PT_NOTE, PF_R), (PT_GNU_STACK, PF_R | PF_W)]);
    }

    #[test]
    fn what_has_no_place_for_it_is_refused() {
        for mut bytes in [program(&[(1, 5)]), b"MZ".to_vec(), program(&[(PT_NOTE, PF_R)])[..100].to_vec(), b"\x7fELF\x02\x01".to_vec()] {
            assert!(forbid(&mut bytes).is_err(), "{bytes:?}");
        }
    }
}
