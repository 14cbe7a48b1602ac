//! A guest tells how fast it is.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use flatview_kvm::{KvmConfig, KvmError, measure_speed};

#[test]
fn a_loop_tells_how_fast_it_is() {
    if flatview_testkit::kvm() {
        let speed = measure_speed(&KvmConfig::default()).unwrap();
        // Between an interpreter on a busy machine and a processor of the next century.
        assert!((1e3..1e13).contains(&speed), "{speed}");
    }
}

#[test]
fn where_there_is_no_kvm_it_says_so() {
    let mut config = KvmConfig::default();
    config.device = "/nonexistent/kvm".into();
    let error = measure_speed(&config).unwrap_err();
    assert!(matches!(&error, KvmError::Open { path, .. } if path == &config.device));
    assert!(error.to_string().contains("/nonexistent/kvm"), "{error}");
}
