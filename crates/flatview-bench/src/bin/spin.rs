//! Does one thing over and over, for a profiler to look at: `spin toggle 10000`, `spin look 1000`.

use std::error::Error;
use std::time::{Duration, Instant};

use flatview_bench::addresses::{Pattern, sequential, throughput};
use flatview_bench::scenes::{Banks, BusMasters, Others, Pci, Windows};

fn spin(
    iterations: Option<u32>,
    mut work: impl FnMut() -> Result<(), flatview::Error>,
) -> Result<(), flatview::Error> {
    let begin = Instant::now();
    let mut done = 0;
    while iterations.map_or(begin.elapsed() < Duration::from_secs(5), |most| done < most) {
        work()?;
        done += 1;
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next().unwrap_or_default();
    let count = arguments.next().map_or(Ok(10), |count| count.parse())?;
    // For a profiler that counts instructions rather than time.
    let iterations = arguments.next().map(|count| count.parse()).transpose()?;
    let others = match what.as_str() {
        "toggle-sharing" => Others::Sharing(50),
        "toggle-smaller" => Others::Smaller(50),
        "toggle-children" => Others::TwoChildren(50),
        _ => Others::None,
    };
    match what.as_str() {
        "toggle" | "toggle-sharing" | "toggle-smaller" | "toggle-children" => {
            let scene = Windows::new(count, others)?;
            spin(iterations, || {
                scene.set(count / 2, false)?;
                scene.set(count / 2, true)
            })?;
        }
        "build" => spin(iterations, || Windows::new(count, Others::None).map(drop))?,
        "bars" => {
            let scene = Pci::new(count, BusMasters::Sharing)?;
            scene.map_all()?;
            spin(iterations, || {
                scene.unmap(count / 2)?;
                scene.map(count / 2)
            })?;
        }
        "look" => {
            let scene = Windows::new(count, Others::None)?;
            let mut reader = scene.space.reader();
            let pattern = Pattern::windows(count);
            spin(iterations, || {
                throughput(pattern, |address| {
                    reader.find(address).map_or(0, |range| range.start())
                });
                Ok(())
            })?;
        }
        "hot" => {
            let scene = Banks::new(count)?;
            let mut reader = scene.space.reader();
            let pattern = Pattern::one_bank(count);
            spin(iterations, || {
                sequential(pattern, |address| {
                    reader.find(address).map_or(0, |range| range.start())
                });
                Ok(())
            })?;
        }
        _ => {
            return Err(
                "spin toggle|toggle-sharing|toggle-smaller|toggle-children|build|bars|look|hot \
                        [COUNT [ITERATIONS]]"
                    .into(),
            );
        }
    }
    Ok(())
}
