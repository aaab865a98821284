//! The processor: what it is called, and which instructions it has that matter for models.

use std::{fs, process::Command};

/// What is known of the processor.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cpu {
    /// As its maker names it.
    pub model: Option<String>,
    /// `x86_64`, `aarch64`, …
    pub architecture: &'static str,
    /// Instruction sets that llama.cpp uses where it finds them; `None` where the system tells nothing.
    pub features: Option<Vec<&'static str>>,
}

/// What Linux calls an instruction set, and what people do. Both architectures: their words differ.
const LINUX: [(&str, &str); 21] = [
    ("sse3", "sse3"),
    ("pni", "sse3"),
    ("ssse3", "ssse3"),
    ("sse4_2", "sse4.2"),
    ("avx", "avx"),
    ("f16c", "f16c"),
    ("fma", "fma"),
    ("bmi2", "bmi2"),
    ("avx2", "avx2"),
    ("avx_vnni", "avx-vnni"),
    ("avx512f", "avx512"),
    ("avx512_vnni", "avx512-vnni"),
    ("avx512_bf16", "avx512-bf16"),
    ("amx_int8", "amx-int8"),
    ("asimd", "neon"),
    ("asimdhp", "fp16"),
    ("asimddp", "dotprod"),
    ("i8mm", "i8mm"),
    ("bf16", "bf16"),
    ("sve", "sve"),
    ("sve2", "sve2"),
];

/// The same for macOS: keys of `sysctl` that say 1, and words of `machdep.cpu.*features`.
const MACOS: [(&str, &str); 14] = [
    ("SSSE3", "ssse3"),
    ("SSE4.2", "sse4.2"),
    ("AVX1.0", "avx"),
    ("F16C", "f16c"),
    ("FMA", "fma"),
    ("BMI2", "bmi2"),
    ("AVX2", "avx2"),
    ("AVX512F", "avx512"),
    ("hw.optional.AdvSIMD", "neon"),
    ("hw.optional.arm.FEAT_FP16", "fp16"),
    ("hw.optional.arm.FEAT_DotProd", "dotprod"),
    ("hw.optional.arm.FEAT_I8MM", "i8mm"),
    ("hw.optional.arm.FEAT_BF16", "bf16"),
    ("hw.optional.arm.FEAT_SME", "sme"),
];

/// The processor of this machine.
pub fn find() -> Cpu {
    let found = match std::env::consts::OS {
        "linux" => fs::read_to_string("/proc/cpuinfo").ok().map(|text| cpuinfo(&text)),
        "macos" => {
            let output = Command::new("/usr/sbin/sysctl").args(["machdep.cpu", "hw.optional"]).output().ok();
            output.filter(|output| output.status.success()).map(|output| sysctl(&String::from_utf8_lossy(&output.stdout)))
        }
        _ => None,
    };
    Cpu { architecture: std::env::consts::ARCH, ..found.unwrap_or_default() }
}

/// Linux' `/proc/cpuinfo`, of either architecture; the first processor speaks for all.
fn cpuinfo(text: &str) -> Cpu {
    let field = |wanted: &[&str]| {
        text.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            wanted.contains(&name.trim()).then(|| value.trim().to_owned()).filter(|value| !value.is_empty())
        })
    };
    let features = field(&["flags", "Features"]).map(|words| {
        let words: Vec<_> = words.split_whitespace().map(str::to_owned).collect();
        known(&LINUX, |word| words.iter().any(|one| one == word))
    });
    Cpu { model: field(&["model name", "Model", "Hardware"]), architecture: "", features }
}

/// macOS' `sysctl machdep.cpu hw.optional`.
fn sysctl(text: &str) -> Cpu {
    let lines: Vec<_> = text.lines().filter_map(|line| line.split_once(": ")).collect();
    let value = |key: &str| lines.iter().find(|(name, _)| *name == key).map(|(_, value)| value.trim());
    let words: Vec<_> = ["machdep.cpu.features", "machdep.cpu.leaf7_features"]
        .iter()
        .filter_map(|key| value(key))
        .flat_map(str::split_whitespace)
        .collect();
    let features = known(&MACOS, |word| value(word) == Some("1") || words.contains(&word));
    let model = value("machdep.cpu.brand_string").filter(|model| !model.is_empty()).map(str::to_owned);
    Cpu { model, architecture: "", features: (!lines.is_empty()).then_some(features) }
}

fn known(table: &[(&str, &'static str)], has: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let mut found: Vec<&'static str> = table.iter().filter(|(word, _)| has(word)).map(|(_, name)| *name).collect();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epyc() {
        let cpu = cpuinfo(
            "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC 9654 96-Core Processor\nflags\t\t: fpu sse sse2 pni ssse3 fma \
             cx16 sse4_1 sse4_2 avx f16c avx2 bmi2 avx512f avx512dq avx512_bf16 avx512_vnni\nbugs\t\t: spectre_v1\n\nprocessor\t: 1\nmodel name\t: other\n",
        );
        assert_eq!(cpu.model.as_deref(), Some("AMD EPYC 9654 96-Core Processor"));
        let wanted = ["sse3", "ssse3", "sse4.2", "avx", "f16c", "fma", "bmi2", "avx2", "avx512", "avx512-vnni", "avx512-bf16"];
        assert_eq!(cpu.features.unwrap(), wanted);
    }

    #[test]
    fn a_core_2_has_no_avx() {
        let cpu = cpuinfo("model name\t: Intel(R) Core(TM)2 Duo CPU     E8400  @ 3.00GHz\nflags\t\t: fpu sse sse2 ssse3 sse4_1 lahf_lm\n");
        assert_eq!(cpu.features.unwrap(), ["ssse3"]);
    }

    #[test]
    fn a_raspberry_pi_and_a_graviton() {
        let pi = cpuinfo(
            "processor\t: 0\nFeatures\t: fp asimd evtstrm crc32 cpuid\nCPU implementer\t: 0x41\n\nModel\t\t: Raspberry Pi 4 Model B Rev 1.4\n",
        );
        assert_eq!((pi.model.as_deref(), pi.features.unwrap()), (Some("Raspberry Pi 4 Model B Rev 1.4"), vec!["neon"]));
        let graviton = cpuinfo("processor\t: 0\nFeatures\t: fp asimd asimdhp asimddp sve i8mm bf16\n");
        assert_eq!((graviton.model, graviton.features.unwrap()), (None, vec!["neon", "fp16", "dotprod", "i8mm", "bf16", "sve"]));
    }

    #[test]
    fn macs() {
        let m2 = sysctl(
            "machdep.cpu.brand_string: Apple M2 Max\nhw.optional.AdvSIMD: 1\nhw.optional.arm.FEAT_DotProd: 1\nhw.optional.arm.FEAT_SME: 0\n",
        );
        assert_eq!((m2.model.as_deref(), m2.features.unwrap()), (Some("Apple M2 Max"), vec!["neon", "dotprod"]));
        let old = sysctl(
            "machdep.cpu.brand_string: Intel(R) Core(TM) i7-9750H CPU @ 2.60GHz\nmachdep.cpu.features: FPU SSSE3 FMA SSE4.2 AVX1.0 F16C\nmachdep.cpu.leaf7_features: RDWRFSGS AVX2 BMI2\n",
        );
        assert_eq!(old.features.unwrap(), ["ssse3", "sse4.2", "avx", "f16c", "fma", "bmi2", "avx2"]);
    }

    #[test]
    fn what_the_system_does_not_say_is_unknown() {
        assert_eq!((cpuinfo("").features, sysctl("").features), (None, None));
        assert_eq!(find().architecture, std::env::consts::ARCH);
    }
}
