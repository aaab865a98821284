//! Makes a model smaller: weights of fewer bits, by llama.cpp's own quantiser.

#![expect(unsafe_code, reason = "the bindings have no safe face for it")]

use std::ffi::CString;
use std::path::Path;
use std::str::FromStr;

use llama_cpp_sys_2 as sys;

use crate::{Error, context, log, model};

/// What can be written without statistics of the model's use, by name.
const KINDS: [(&str, sys::llama_ftype); 15] = [
    ("q2_k", sys::LLAMA_FTYPE_MOSTLY_Q2_K),
    ("q3_k_s", sys::LLAMA_FTYPE_MOSTLY_Q3_K_S),
    ("q3_k_m", sys::LLAMA_FTYPE_MOSTLY_Q3_K_M),
    ("q3_k_l", sys::LLAMA_FTYPE_MOSTLY_Q3_K_L),
    ("q4_0", sys::LLAMA_FTYPE_MOSTLY_Q4_0),
    ("q4_1", sys::LLAMA_FTYPE_MOSTLY_Q4_1),
    ("q4_k_s", sys::LLAMA_FTYPE_MOSTLY_Q4_K_S),
    ("q4_k_m", sys::LLAMA_FTYPE_MOSTLY_Q4_K_M),
    ("q5_0", sys::LLAMA_FTYPE_MOSTLY_Q5_0),
    ("q5_1", sys::LLAMA_FTYPE_MOSTLY_Q5_1),
    ("q5_k_s", sys::LLAMA_FTYPE_MOSTLY_Q5_K_S),
    ("q5_k_m", sys::LLAMA_FTYPE_MOSTLY_Q5_K_M),
    ("q6_k", sys::LLAMA_FTYPE_MOSTLY_Q6_K),
    ("iq4_nl", sys::LLAMA_FTYPE_MOSTLY_IQ4_NL),
    ("iq4_xs", sys::LLAMA_FTYPE_MOSTLY_IQ4_XS),
];

/// A kind of weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quantization(sys::llama_ftype);

impl FromStr for Quantization {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let found = KINDS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        let names = || KINDS.map(|(name, _)| name).join(", ");
        found.map(|(_, kind)| Self(*kind)).ok_or_else(|| Error::Invalid(format!("`{name}` can't be written: one of {} can", names())))
    }
}

/// Writes the model at `from` to `to` with weights of another kind. The first must not be of few bits already.
///
/// # Errors
/// [`Error::Invalid`] for a path that C can't take, [`Error::Unloadable`] in llama.cpp's words.
pub fn quantize(from: &Path, to: &Path, kind: Quantization, threads: u32) -> Result<(), Error> {
    model::backend()?;
    let text = |path: &Path| {
        let path = path.to_str().ok_or_else(|| Error::Invalid(format!("{} is not UTF-8", path.display())))?;
        CString::new(path).map_err(|e| Error::Invalid(e.to_string()))
    };
    let (from, to) = (text(from)?, text(to)?);
    log::take_errors();
    // SAFETY: it only fills a struct of plain values.
    let mut params = unsafe { sys::llama_model_quantize_default_params() };
    params.nthread = context::threads(threads);
    params.ftype = kind.0;
    // SAFETY: both texts and the parameters outlive the call, the parameters' pointers are null, and the function catches what C++ throws.
    let status = unsafe { sys::llama_model_quantize(from.as_ptr(), to.as_ptr(), &raw const params) };
    let said = log::take_errors();
    match status {
        0 => Ok(()),
        _ if said.is_empty() => Err(Error::Unloadable(format!("the quantiser failed with {status}"))),
        _ => Err(Error::Unloadable(said)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_go_by_their_names() {
        assert_eq!("Q4_K_M".parse::<Quantization>().expect("known"), Quantization(sys::LLAMA_FTYPE_MOSTLY_Q4_K_M));
        assert!("q9".parse::<Quantization>().expect_err("unknown").to_string().contains("q4_k_m"));
    }
}
