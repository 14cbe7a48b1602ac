//! What it costs to read a dump, beside reading it as bytes.

use std::hint::black_box;
use std::process::Command;
use std::time::Instant;

use flatview_bench::dumps;
use flatview_bench::measure::{Cost, repeat};
use flatview_mtree::check::facts_from;
use flatview_mtree::facts::Facts;
use flatview_mtree::graph::Graph;
use flatview_mtree::machine::Machine;
use flatview_mtree::rebuild::Rebuilt;
use flatview_mtree::text::{Reader, parse};

use crate::table::{Gates, MS, Result};

const GROUP: &str = "mtree";

pub(crate) fn mtree(gates: &mut Gates) -> Result<()> {
    let text = dumps::pc(1 << 20)?;
    let file = std::env::temp_dir().join(format!("flatview-gates-{}.txt", std::process::id()));
    std::fs::write(&file, &text)?;
    let budget = gates.budget;
    let reading = repeat(budget, 1, || drop(black_box(std::fs::read(&file)))).per(MS);
    let counting = processes(10, Command::new("wc").arg(&file))?.per(MS);
    let program = std::env::current_exe()?.with_file_name("flatview");
    if program.exists() {
        let arguments = ["mtree", "explain", "0x10000001000"];
        let cost = processes(20, Command::new(&program).args(arguments).arg(&file))?.per(MS);
        let row = gates.add(GROUP, "explain, a process", "ms", cost).at_most(20.0);
        row.beside("wc, a process", counting.least);
    } else {
        eprintln!(
            "no process is measured: {} is not built (-p flatview-cli)",
            program.display()
        );
    }
    std::fs::remove_file(&file)?;

    let cost = repeat(budget, 1, || drop(black_box(parse(&text)))).per(MS);
    let row = gates.add(GROUP, "parse 1 MiB", "ms", cost).at_most(10.0);
    row.beside("reading the file", reading.least)
        .beside("wc, a process", counting.least);
    let cost = repeat(budget, 1, || {
        let texts = Reader::new(text.as_bytes()).filter_map(std::result::Result::ok);
        black_box(texts.filter(|text| text.parse().is_ok()).count());
    });
    gates.add(GROUP, "parse 1 MiB of a stream", "ms", cost.per(MS));

    let dumps = parse(&text)?;
    let tree = dumps[0].tree().ok_or("no tree")?;
    let cost = repeat(budget, 1, || drop(black_box(Graph::new(tree))));
    gates.add(GROUP, "graph of it", "ms", cost.per(MS));
    let graph = Graph::new(tree);
    let facts = Facts::guess(&graph);
    let built = Rebuilt::new(&graph, &facts)?;
    let cost = repeat(budget, 1, || drop(black_box(Rebuilt::new(&graph, &facts))));
    gates.add(GROUP, "rebuild, render and drop it", "ms", cost.per(MS));
    let system = &built.regions[graph.spaces[0].root];
    // A change of a root renders all of its views again.
    let cost = repeat(budget, 2, || {
        for enabled in [false, true] {
            let _ = black_box(built.memory.update(|tx| tx.set_enabled(system, enabled)));
        }
    });
    gates.add(GROUP, "render it", "ms", cost.per(MS)).at_most(5.0);
    let flat_text = built.memory.mtree_flat().to_string();
    let flat = parse(&flat_text)?;
    let flat = flat[0].flat().ok_or("no views")?;
    let cost = repeat(budget, 1, || drop(black_box(facts_from(&graph, flat))));
    gates.add(GROUP, "check it", "ms", cost.per(MS));
    let machine = Machine::new(dumps.clone())?;
    let cost = repeat(budget, 1, || drop(black_box(machine.explain(0, 1 << 40))));
    gates.add(GROUP, "explain an address of it", "ms", cost.per(MS));
    Ok(())
}

/// Wall time of whole processes.
fn processes(times: usize, command: &mut Command) -> Result<Cost> {
    let mut repetitions = Vec::new();
    for _ in 0..times {
        let begin = Instant::now();
        command.output()?;
        repetitions.push(begin.elapsed().as_nanos() as f64);
    }
    Ok(Cost::of(repetitions))
}
