//! Thread CPU time for criterion.

use std::time::Duration;

use criterion::measurement::{Measurement, ValueFormatter};
use criterion::{Bencher, Criterion, Throughput};
use flatview_bench::addresses::LOOKUPS;
use flatview_bench::measure::{once, thread_cpu_time};

/// What the thread that runs the benchmark spends, and nobody else.
#[derive(Debug)]
pub(crate) struct ThreadCpu;

impl Measurement for ThreadCpu {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        thread_cpu_time()
    }

    fn end(&self, begin: Duration) -> Duration {
        thread_cpu_time() - begin
    }

    fn add(&self, a: &Duration, b: &Duration) -> Duration {
        *a + *b
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        value.as_nanos() as f64
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        self
    }
}

impl ValueFormatter for ThreadCpu {
    fn scale_values(&self, typical: f64, values: &mut [f64]) -> &'static str {
        let (factor, unit) = match typical {
            ns if ns < 1e3 => (1.0, "ns CPU"),
            ns if ns < 1e6 => (1e-3, "us CPU"),
            ns if ns < 1e9 => (1e-6, "ms CPU"),
            _ => (1e-9, "s CPU"),
        };
        values.iter_mut().for_each(|value| *value *= factor);
        unit
    }

    fn scale_throughputs(&self, _: f64, throughput: &Throughput, values: &mut [f64]) -> &'static str {
        let (amount, unit) = match *throughput {
            Throughput::Elements(count) => (count, "elements/s CPU"),
            Throughput::ElementsAndBytes { elements, .. } => (elements, "elements/s CPU"),
            Throughput::Bytes(count) | Throughput::BytesDecimal(count) => (count, "B/s CPU"),
            Throughput::Bits(count) => (count, "bit/s CPU"),
        };
        for value in values {
            *value = amount as f64 * 1e9 / *value;
        }
        unit
    }

    fn scale_for_machines(&self, _: &mut [f64]) -> &'static str {
        "ns"
    }
}

/// What the groups of all benches are configured with.
pub(crate) fn configuration() -> Criterion<ThreadCpu> {
    Criterion::default()
        .with_measurement(ThreadCpu)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .without_plots()
}

/// Measures one look-up, of which each call of `work` does [`LOOKUPS`].
#[allow(dead_code, reason = "not every bench looks things up")]
pub(crate) fn lookups(bencher: &mut Bencher<'_, ThreadCpu>, mut work: impl FnMut()) {
    bencher.iter_custom(|iterations| {
        let calls = iterations.div_ceil(LOOKUPS as u64);
        let (spent, ()) = once(|| (0..calls).for_each(|_| work()));
        let each = spent / (calls * LOOKUPS as u64) as f64;
        Duration::from_secs_f64(each * iterations as f64 / 1e9)
    });
}
