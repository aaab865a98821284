//! Outputs in the form that the vendors document, each of another kind of machine. They were written for these tests.

use super::*;

const GIB_BYTES: u64 = 1 << 30;
const MIB_BYTES: u64 = 1 << 20;

#[test]
fn two_geforces() {
    let gpus = nvidia::parse(
        "24564, 1043, 37, 45, 570.124.06, 8.9, NVIDIA GeForce RTX 4090\n24564, 2, 0, 38, 570.124.06, 8.9, NVIDIA GeForce RTX 4090\n\n",
        true,
    );
    assert_eq!(gpus.len(), 2);
    let first = &gpus[0];
    assert_eq!((first.memory_bytes, first.used_bytes), (Some(24564 * MIB_BYTES), Some(1043 * MIB_BYTES)));
    assert_eq!((first.usage, first.temperature, first.compute.as_deref()), (Some(37.0), Some(45.0), Some("8.9")));
    assert_eq!(first.driver.as_deref(), Some("570.124.06"));
    assert_eq!(devices(&gpus), [GpuDevice { model: "NVIDIA GeForce RTX 4090".to_owned(), count: 2, memory: Some(24564 * MIB_BYTES) }]);
    assert!((capability(&gpus) - 2.0 * 24564.0 / 1024.0 * 8.9 / 5.0).abs() < 1e-9);
}

#[test]
fn a_data_centre_board_cut_into_instances_does_not_tell_its_usage() {
    let gpus = nvidia::parse("81920, 1024, [N/A], 31, 550.90.07, 8.0, NVIDIA A100-SXM4-80GB\n", true);
    assert_eq!((gpus[0].usage, gpus[0].temperature), (None, Some(31.0)));
}

#[test]
fn a_desktop_whose_processor_shares_its_memory_with_the_gpu() {
    let gpus = nvidia::parse("[N/A], [N/A], 4, 41, 580.95.05, 12.1, NVIDIA GB10\n", true);
    assert_eq!((gpus[0].memory_bytes, gpus[0].used_bytes, gpus[0].compute.as_deref()), (None, None, Some("12.1")));
    assert_eq!((memory_bytes(&gpus), capability(&gpus)), (0, 0.0), "unknown memory scores nothing");
    assert!(nvidia::shares(&gpus[0]));
    let gpu = nvidia::sharing(gpus[0].clone(), (128 * GIB_BYTES, 100 * GIB_BYTES));
    assert_eq!((gpu.memory_bytes, gpu.used_bytes, gpu.is_shared), (Some(128 * GIB_BYTES), Some(28 * GIB_BYTES), true));
    assert_eq!(nvidia::sharing(gpus[0].clone(), (0, 0)).memory_bytes, None, "a system that tells nothing");
    let cut = nvidia::parse("[N/A], [N/A], [N/A], 31, 550.90.07, 8.0, NVIDIA A100-SXM4-80GB MIG 1g.10gb\n", true);
    assert!(!nvidia::shares(&cut[0]), "a board's memory that is not told is unknown");
}

#[test]
fn a_small_board_without_the_tool() {
    let gpu = nvidia::jetson("NVIDIA Jetson AGX Orin Developer Kit\0").unwrap();
    assert_eq!((gpu.model.as_str(), gpu.memory_bytes, nvidia::shares(&gpu)), ("NVIDIA Jetson AGX Orin Developer Kit", None, true));
    assert_eq!(nvidia::jetson("Raspberry Pi 5 Model B Rev 1.0\0"), None);
}

#[test]
fn graphics_in_the_processor_beside_a_card() {
    // Keys in an order of their own, values that another age of the tool adds, and a second GPU with 64 MiB.
    let text = r#"{
      "card1": {"GPU use (%)": "0", "VRAM Total Memory (B)": "67108864", "VRAM Total Used Memory (B)": "26079232", "Card Series": "Raphael",
        "Card Model": "0x164e", "Card Vendor": "Advanced Micro Devices, Inc. [AMD/ATI]", "Node ID": "2", "GUID": "52156", "GFX Version": "gfx1036"},
      "card0": {"Device Name": "N/A", "Unique ID": "0x1", "Temperature (Sensor edge) (C)": "N/A", "Temperature (Sensor junction) (C)": "44.0",
        "Temperature (Sensor memory) (C)": "50.0", "GPU use (%)": "7", "GFX Activity": "1141796410", "VRAM Total Memory (B)": "17163091968",
        "VRAM Total Used Memory (B)": "692142080", "Card Series": "Navi 21 [Radeon RX 6800/6800 XT / 6900 XT]", "Card Model": "0x73bf",
        "GFX Version": "gfx1030"}}"#;
    let gpus = amd::rocm_smi(text);
    assert_eq!([gpus[0].memory_bytes, gpus[1].memory_bytes], [Some(17_163_091_968), Some(64 * MIB_BYTES)]);
    assert_eq!((gpus[0].temperature, gpus[0].usage, gpus[0].driver.as_ref()), (Some(44.0), Some(7.0), None));
    assert_eq!([gpus[0].compute.as_deref(), gpus[1].compute.as_deref()], [Some("gfx1030"), Some("gfx1036")]);
}

#[test]
fn the_first_of_apples_own() {
    let m1 = r#"{"SPDisplaysDataType": [{"_name": "kHW_AppleM1Item", "spdisplays_metalfamily": "spdisplays_mtlgpufamilyapple7",
        "spdisplays_ndrvs": [{"_name": "Color LCD"}], "sppci_model": "Apple M1"}],
        "SPHardwareDataType": [{"chip_type": "Apple M1", "physical_memory": "8 GB"}]}"#;
    let gpu = apple::profiler(m1).remove(0);
    assert_eq!((gpu.model.as_str(), gpu.compute.as_deref(), gpu.is_shared), ("Apple M1", Some("mtlgpufamilyapple7"), true));
    assert_eq!(gpu.memory_bytes, Some(8 * GIB_BYTES / 3 * 2));
}

#[test]
fn an_old_tesla_and_what_is_no_board() {
    let gpus = nvidia::parse("11441, 0, [Not Supported], 29, 390.157, Tesla K80, left half\nNo devices were found\n", false);
    assert_eq!((gpus.len(), gpus[0].model.as_str(), gpus[0].compute.as_ref()), (1, "Tesla K80, left half", None));
    assert!(nvidia::parse("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.", true).is_empty());
    let file = "Model: \t\t NVIDIA GeForce GTX 1080 Ti\nIRQ:   \t\t 132\nGPU UUID: \t GPU-5f3e\n";
    assert_eq!(nvidia::information(file).map(|gpu| gpu.model).as_deref(), Some("NVIDIA GeForce GTX 1080 Ti"));
    assert_eq!(nvidia::information("IRQ: 1\n"), None);
}

const MI300_FACTS: &str = r#"[
  {"gpu": 0, "asic": {"market_name": "AMD Instinct MI300X", "vendor_id": "0x1002", "device_id": "0x74a1", "num_compute_units": 304,
    "target_graphics_version": "gfx942"}, "driver": {"name": "amdgpu", "version": "6.10.5"},
    "vram": {"type": "HBM", "vendor": "HYNIX", "size": {"value": 196592, "unit": "MB"}}},
  {"gpu": 1, "asic": {"market_name": "N/A", "device_id": "0x74a1", "target_graphics_version": "N/A"}, "driver": {"version": "N/A"},
    "vram": {"type": "HBM", "size": {"value": 196592, "unit": "MB"}}}]"#;
const MI300_STATE: &str = r#"[
  {"gpu": 1, "usage": "N/A", "temperature": "N/A", "mem_usage": "N/A"},
  {"gpu": 0, "usage": {"gfx_activity": {"value": 12, "unit": "%"}, "umc_activity": {"value": 0, "unit": "%"}},
    "temperature": {"edge": "N/A", "hotspot": {"value": 47, "unit": "C"}, "mem": {"value": 39, "unit": "C"}},
    "mem_usage": {"total_vram": {"value": 196592, "unit": "MB"}, "used_vram": {"value": 283, "unit": "MB"}}}]"#;

#[test]
fn instincts_by_amd_smi() {
    let gpus = amd::amd_smi(MI300_FACTS, MI300_STATE);
    let first = &gpus[0];
    assert_eq!(
        (first.model.as_str(), first.compute.as_deref(), first.driver.as_deref()),
        ("AMD Instinct MI300X", Some("gfx942"), Some("6.10.5"))
    );
    assert_eq!((first.memory_bytes, first.used_bytes), (Some(196_592 * MIB_BYTES), Some(283 * MIB_BYTES)));
    assert_eq!((first.usage, first.temperature), (Some(12.0), Some(47.0)), "the edge has no sensor");
    let second = Gpu { memory_bytes: Some(196_592 * MIB_BYTES), ..Gpu::new(Vendor::Amd, "0x74a1".to_owned()) };
    assert_eq!(gpus[1], second, "what is not told is unknown");
    assert!((capability(&gpus[..1]) - 196_592.0 / 1024.0 * 1.2).abs() < 1e-9);
    let newer = amd::amd_smi(&format!(r#"{{"gpu_data": {MI300_FACTS}}}"#), "");
    assert_eq!((newer.len(), newer[0].memory_bytes, newer[0].usage), (2, Some(196_592 * MIB_BYTES), None));
    assert!(amd::amd_smi("ERROR: no amdgpu driver", "").is_empty());
}

#[test]
fn a_radeon_by_rocm_smi_of_two_ages() {
    let new = r#"WARNING: AMD GPU device(s) is/are in a low-power state
{"card1": {"Card Series": "0x744c", "Card Model": "0x744c", "GPU use (%)": "5", "VRAM Total Memory (B)": "25753026560"},
 "card0": {"Device Name": "Navi 31", "Card Series": "Radeon RX 7900 XTX", "Card Model": "0x744c", "GFX Version": "gfx1100",
   "GPU use (%)": "99", "VRAM Total Memory (B)": "25753026560", "VRAM Total Used Memory (B)": "1073741824",
   "Temperature (Sensor edge) (C)": "52.0", "Temperature (Sensor junction) (C)": "70.0"}, "system": {"Driver version": "6.8.0"}}"#;
    let gpus = amd::rocm_smi(new);
    assert_eq!([gpus[0].model.as_str(), gpus[1].model.as_str()], ["Radeon RX 7900 XTX", "0x744c"]);
    assert_eq!((gpus[0].memory_bytes, gpus[0].used_bytes, gpus[0].usage), (Some(25_753_026_560), Some(GIB_BYTES), Some(99.0)));
    assert_eq!((gpus[0].temperature, gpus[0].compute.as_deref(), gpus[0].driver.as_deref()), (Some(52.0), Some("gfx1100"), Some("6.8.0")));
    let old = r#"{"card0": {"Card series": "Radeon VII", "Card model": "Vega 20", "Card vendor": "AMD", "GPU use (%)": "N/A", "VRAM Total Memory (B)": "17163091968", "VRAM Total Used Memory (B)": "11059200", "Temperature (Sensor junction) (C)": "31.0"}}"#;
    let gpus = amd::rocm_smi(old);
    assert_eq!((gpus[0].model.as_str(), gpus[0].usage, gpus[0].temperature), ("Radeon VII", None, Some(31.0)));
    assert_eq!((gpus[0].memory_bytes, gpus[0].used_bytes), (Some(17_163_091_968), Some(11_059_200)));
    assert!(amd::rocm_smi("ROCm SMI was not found").is_empty());
}

fn files(list: &'static [(&'static str, &'static str)]) -> impl Fn(&str) -> Option<String> {
    move |file| list.iter().find(|(name, _)| *name == file).map(|(_, text)| (*text).to_owned())
}

#[test]
fn cards_by_the_kernels_files() {
    let radeon = files(&[
        ("device/vendor", "0x1002"),
        ("device/device", "0x73bf"),
        ("device/mem_info_vram_total", "17163091968"),
        ("device/mem_info_vram_used", "42967040"),
        ("device/gpu_busy_percent", "3"),
        ("hwmon/temp1_input", "41000"),
    ]);
    let gpu = amd::card(&radeon).unwrap();
    assert_eq!(
        (gpu.model.as_str(), gpu.memory_bytes, gpu.usage, gpu.temperature),
        ("AMD GPU (device 0x73bf)", Some(17_163_091_968), Some(3.0), Some(41.0))
    );
    assert_eq!(intel::card(&radeon), None);
    let arc = files(&[("device/vendor", "0x8086"), ("device/device", "0x56a0"), ("lmem_total_bytes", "0x3f8000000")]);
    let gpu = intel::card(&arc).unwrap();
    assert_eq!((gpu.vendor, gpu.memory_bytes, gpu.usage), (Vendor::Intel, Some(0x3_f800_0000), None));
    let inside = files(&[("device/vendor", "0x8086"), ("device/device", "0x9a49")]);
    assert_eq!((intel::card(&inside), amd::card(&inside)), (None, None), "graphics without memory of their own");
    assert_eq!(amd::card(&files(&[])), None);
}

#[test]
fn a_macbook_and_an_older_one() {
    let m2 = r#"{"SPDisplaysDataType": [{"_name": "Apple M2 Max", "spdisplays_mtlgpufamilysupport": "spdisplays_metal3", "spdisplays_vendor": "sppci_vendor_Apple",
        "sppci_bus": "spdisplays_builtin", "sppci_cores": "38", "sppci_device_type": "spdisplays_gpu", "sppci_model": "Apple M2 Max"}],
        "SPHardwareDataType": [{"chip_type": "Apple M2 Max", "machine_model": "Mac14,5", "number_processors": "proc 12:8:4", "physical_memory": "96 GB"}]}"#;
    let gpus = apple::profiler(m2);
    assert_eq!((gpus.len(), gpus[0].model.as_str(), gpus[0].compute.as_deref()), (1, "Apple M2 Max", Some("metal3")));
    assert_eq!((gpus[0].memory_bytes, gpus[0].used_bytes), (Some(64 * GIB_BYTES), None), "two thirds of the memory that it shares");
    assert!((capability(&gpus) - 96.0).abs() < 1e-9);
    let intel = r#"{"SPDisplaysDataType": [
        {"_name": "kHW_IntelUHDGraphics630Item", "spdisplays_vendor": "Intel", "spdisplays_vram_shared": "1536 MB", "sppci_model": "Intel UHD Graphics 630"},
        {"_name": "kHW_AMDRadeonPro5300MItem", "spdisplays_metal": "spdisplays_supported", "spdisplays_vendor": "sppci_vendor_amd", "spdisplays_vram": "4 GB", "sppci_model": "AMD Radeon Pro 5300M"}],
        "SPHardwareDataType": [{"cpu_type": "6-Core Intel Core i7", "physical_memory": "16 GB"}]}"#;
    let gpus = apple::profiler(intel);
    assert_eq!((gpus.len(), gpus[0].vendor, gpus[0].memory_bytes), (1, Vendor::Amd, Some(4 * GIB_BYTES)));
    assert!(apple::profiler("").is_empty());
}

#[test]
fn a_flex_card_by_xpu_smi() {
    let list = r#"{"device_list": [
        {"device_function_type": "physical", "device_id": 0, "device_name": "Intel(R) Data Center GPU Flex 170", "device_type": "GPU", "pci_device_id": "0x56c0", "vendor_name": "Intel(R) Corporation"},
        {"device_function_type": "virtual", "device_id": 1, "device_name": "Intel(R) Data Center GPU Flex 170", "device_type": "GPU"}]}"#;
    let facts = r#"{"device_id": 0, "driver_version": "I915_23.4.19", "memory_physical_size_byte": "14248050688", "number_of_eus": "512"}"#;
    let state = r#"{"device_id": 0, "device_level": [{"metrics_type": "XPUM_STATS_GPU_UTILIZATION", "value": 61.5},
        {"metrics_type": "XPUM_STATS_GPU_CORE_TEMPERATURE", "avg": 50, "value": 51.0}, {"metrics_type": "XPUM_STATS_MEMORY_USED", "value": 1024.0}]}"#;
    let gpus = intel::xpu_smi(list, |_| (facts.to_owned(), state.to_owned()));
    assert_eq!(gpus.len(), 1, "a virtual function is no card");
    assert_eq!((gpus[0].memory_bytes, gpus[0].used_bytes), (Some(14_248_050_688), Some(GIB_BYTES)));
    assert_eq!((gpus[0].usage, gpus[0].temperature), (Some(61.5), Some(51.0)));
    let mute = intel::xpu_smi(list, |_| (String::new(), String::new()));
    assert_eq!((mute[0].memory_bytes, mute[0].usage), (None, None));
    assert!(intel::xpu_smi(r#"{"error": "No device discovered"}"#, |_| Default::default()).is_empty());
}

#[test]
fn a_report_has_the_busiest_the_hottest_and_the_sum() {
    let gpu = |usage, temperature, used: Option<u64>| Gpu {
        memory_bytes: Some(8 * GIB_BYTES),
        used_bytes: used.map(|gib| gib * GIB_BYTES),
        usage,
        temperature,
        compute: Some("9.0".to_owned()),
        ..Gpu::new(Vendor::Nvidia, "H".to_owned())
    };
    let mut heartbeat = Heartbeat::default();
    report(&[gpu(Some(10.0), Some(60.0), Some(2)), gpu(Some(90.0), None, Some(6)), gpu(None, None, None)], &mut heartbeat);
    assert_eq!((heartbeat.gpu_usage, heartbeat.gpu_temperature, heartbeat.gpu_memory_usage), (Some(90.0), Some(60.0), Some(50.0)));
    assert_eq!((heartbeat.gpu_memory_total_mb, heartbeat.gpu_memory_used_mb), (Some(24 << 10), Some(8 << 10)));
    assert_eq!((heartbeat.gpu_compute_capability.as_deref(), heartbeat.gpu_capability_score), (Some("9.0"), Some(3.0 * 8.0 * 9.0 / 5.0)));
    let mut nothing = Heartbeat::default();
    report(&[], &mut nothing);
    assert_eq!((nothing.gpu_usage, nothing.gpu_capability_score, nothing.gpu_model_name), (None, None, None));
}

#[test]
fn numbers_are_read_and_words_are_unknown() {
    assert_eq!([number("45"), number("38 %"), number("38%"), number("45.5 C")], [Some(45.0), Some(38.0), Some(38.0), Some(45.5)]);
    assert_eq!([number("[N/A]"), number(""), number("[Not Supported]"), number("NaN")], [None; 4]);
    assert_eq!((percent(101.0), bytes(0.0, 1.0), bytes(1e30, 1.0)), (None, None, None));
}

#[test]
fn looking_does_not_fail_on_this_machine() {
    let gpus = Gpus::find();
    assert_eq!(gpus.last().len(), gpus.read().len());
}
