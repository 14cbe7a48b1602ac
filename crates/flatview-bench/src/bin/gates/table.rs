//! The rows of the table, their targets, and how it is printed.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use flatview_bench::measure::Cost;
use serde::Serialize;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[derive(Serialize)]
pub(crate) struct Row {
    pub(crate) group: &'static str,
    pub(crate) what: String,
    pub(crate) unit: &'static str,
    #[serde(flatten)]
    pub(crate) cost: Cost,
    references: BTreeMap<String, f64>,
    pub(crate) target: Option<Target>,
}

#[derive(Serialize)]
pub(crate) struct Target {
    limit: f64,
    at_least: bool,
    pub(crate) met: bool,
}

pub(crate) struct Gates {
    pub(crate) budget: Duration,
    pub(crate) only: Option<String>,
    pub(crate) rows: Vec<Row>,
}

impl Gates {
    pub(crate) fn wants(&self, group: &str) -> bool {
        self.only.as_ref().is_none_or(|only| group.contains(only))
    }

    pub(crate) fn add(
        &mut self,
        group: &'static str,
        what: impl Into<String>,
        unit: &'static str,
        cost: Cost,
    ) -> &mut Row {
        self.rows.push(Row {
            group,
            what: what.into(),
            unit,
            cost,
            references: BTreeMap::new(),
            target: None,
        });
        self.rows.last_mut().expect("just added")
    }
}

impl Row {
    pub(crate) fn at_most(&mut self, limit: f64) -> &mut Row {
        self.target = Some(Target {
            limit,
            at_least: false,
            met: self.cost.least <= limit,
        });
        self
    }

    pub(crate) fn at_least(&mut self, limit: f64) -> &mut Row {
        self.target = Some(Target {
            limit,
            at_least: true,
            met: self.cost.least >= limit,
        });
        self
    }

    pub(crate) fn beside(&mut self, name: &str, value: f64) -> &mut Row {
        self.references.insert(name.to_owned(), value);
        self
    }
}

pub(crate) fn ratio(a: Cost, b: Cost) -> Cost {
    Cost {
        least: a.least / b.least,
        median: a.median / b.median,
    }
}

pub(crate) fn exactly(value: f64) -> Cost {
    Cost {
        least: value,
        median: value,
    }
}

pub(crate) const US: f64 = 1e3;
pub(crate) const MS: f64 = 1e6;

impl Row {
    /// Target, ratio to it, whether it is met.
    fn verdict(&self) -> [String; 3] {
        match &self.target {
            None => Default::default(),
            Some(target) => [
                format!("{}{}", if target.at_least { ">=" } else { "<=" }, target.limit),
                format!("{:.2}", self.cost.least / target.limit),
                (if target.met { "yes" } else { "NO" }).to_owned(),
            ],
        }
    }

    fn references(&self) -> String {
        let references = self
            .references
            .iter()
            .map(|(name, value)| format!("{name} {value:.2}"));
        references.collect::<Vec<_>>().join(", ")
    }
}

pub(crate) fn print(rows: &[Row]) {
    println!(
        "{:<10}{:<30}{:>10}{:>10} {:<3}{:>9}{:>8}  {:<4}references",
        "group", "what", "least", "median", "", "target", "ratio", "met"
    );
    for row in rows {
        let Cost { least, median } = row.cost;
        let [target, ratio, met] = row.verdict();
        println!(
            "{:<10}{:<30}{least:>10.2}{median:>10.2} {:<3}{target:>9}{ratio:>8}  {met:<4}{}",
            row.group,
            row.what,
            row.unit,
            row.references()
        );
    }
}

pub(crate) fn print_json(rows: &[Row]) {
    match serde_json::to_string_pretty(rows) {
        Ok(text) => println!("{text}"),
        Err(failure) => eprintln!("no JSON: {failure}"),
    }
}

pub(crate) fn print_markdown(rows: &[Row]) {
    println!("| group | what | least | median | unit | target | ratio | met | in the same run |");
    println!("|---|---|--:|--:|---|---|--:|---|---|");
    for row in rows {
        let Cost { least, median } = row.cost;
        let [target, ratio, met] = row.verdict();
        println!(
            "| {} | {} | {least:.2} | {median:.2} | {} | {target} | {ratio} | {met} | {} |",
            row.group,
            row.what,
            row.unit,
            row.references()
        );
    }
}
