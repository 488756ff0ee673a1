//! What is printed: one list of figures, as a table for people and as JSON for machines. Never computes a figure
//! from another one.

use std::fmt::Write;

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use crate::measure::tally::Errors;

/// The figures of one run, in the order of the table.
pub struct Report {
    figures: Vec<Figure>,
    errors: u64,
    first_error: Option<String>,
    saturated: bool,
    noisy: bool,
}

struct Figure {
    name: String,
    value: Value,
    unit: &'static str,
}

/// From this share of its cores on the generator may be what limits the figures.
const SATURATED_SHARE: f64 = 0.95;

/// From this share of a core on, waited for by server or generator, the machine was not quiet.
const NOISY_SHARE: f64 = 0.2;

impl Report {
    /// The report of a scenario against a server.
    pub fn new(scenario: &str, url: &str) -> Self {
        let mut report =
            Self { figures: Vec::new(), errors: 0, first_error: None, saturated: false, noisy: false };
        report.text("scenario", scenario);
        report.text("url", url);
        report
    }

    /// A word.
    pub fn text(&mut self, name: &str, value: &str) {
        self.push(name, json!(value), "");
    }

    /// A whole number.
    pub fn count(&mut self, name: &str, value: u64) {
        self.push(name, json!(value), "");
    }

    /// A measured number.
    pub fn number(&mut self, name: &str, value: f64, unit: &'static str) {
        self.push(name, json!(value), unit);
    }

    /// Quantiles of a histogram of nanoseconds, in microseconds; nothing if it is empty.
    pub fn latency(&mut self, name: &str, histogram: &Histogram<u64>) {
        if histogram.is_empty() {
            return;
        }
        for (label, quantile) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)] {
            let micros = histogram.value_at_quantile(quantile) as f64 / 1e3;
            self.number(&format!("{name}_{label}_us"), micros, "µs");
        }
        self.number(&format!("{name}_max_us"), histogram.max() as f64 / 1e3, "µs");
    }

    /// Cores the generator used of those it may use; when that is nearly all of them, it says so.
    pub fn generator_share(&mut self, share: f64, cores: f64) {
        self.number("generator_cpu_share", share, "cores");
        self.saturated = share >= SATURATED_SHARE * cores;
        self.push("generator_saturated", json!(self.saturated), "");
    }

    /// Cores somebody wanted and did not get; when that is much, it says so.
    pub fn waited_share(&mut self, who: &str, share: f64) {
        self.number(&format!("{who}_waited_share"), share, "cores");
        self.noisy |= share >= NOISY_SHARE;
    }

    /// What went wrong.
    pub fn errors(&mut self, errors: &Errors) {
        self.errors = errors.total();
        self.first_error = errors.first.clone();
        for (name, count) in [
            ("connections_failed", errors.failed),
            ("connections_ended", errors.ended),
            ("wrong", errors.wrong),
            ("unanswered", errors.unanswered),
            ("unsent", errors.unsent),
            ("lost", errors.verdict.lost),
            ("duplicated", errors.verdict.duplicated),
            ("reordered", errors.verdict.reordered),
        ] {
            if count > 0 {
                self.count(&format!("errors_{name}"), count);
            }
        }
        self.count("errors", self.errors);
        if let Some(words) = &errors.first {
            self.text("first_error", &words.clone());
        }
    }

    /// Whether everything was right.
    pub fn is_clean(&self) -> bool {
        self.errors == 0
    }

    /// The table.
    pub fn table(&self) -> String {
        let width = self.figures.iter().map(|figure| figure.name.len()).max().unwrap_or(0);
        let mut table = String::new();
        for Figure { name, value, unit } in &self.figures {
            // Writing to a string does not fail.
            let _ = writeln!(table, "{name:width$}  {} {unit}", plain(value));
        }
        if self.saturated {
            table.push_str("The generator used all it may use: it may be what limits these figures.\n");
        }
        if self.noisy {
            table.push_str("Other processes had the processors: only figures per message can be compared.\n");
        }
        table
    }

    /// The same as one JSON object.
    pub fn json(&self) -> String {
        let object: Map<String, Value> =
            self.figures.iter().map(|figure| (figure.name.clone(), figure.value.clone())).collect();
        Value::Object(object).to_string()
    }

    fn push(&mut self, name: &str, value: Value, unit: &'static str) {
        self.figures.push(Figure { name: name.to_owned(), value, unit });
    }
}

/// A value as people read it: text without quotes, numbers with three digits that matter.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => {
            let number = number.as_f64().unwrap_or_default();
            let places = match number.abs() {
                size if size >= 1000.0 => 0,
                size if size >= 10.0 => 1,
                _ => 3,
            };
            format!("{number:.places$}")
        }
        Value::Number(_) | Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            value.to_string()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Tally;

    #[test]
    fn table_and_json_say_the_same() {
        let mut report = Report::new("echo", "ws://h/");
        report.number("messages_per_second", 123_456.7, "1/s");
        let mut tally = Tally::new();
        tally.errors.verdict.lost = 2;
        tally.errors.say(|| "number 7 never came".to_owned());
        report.errors(&tally.errors);
        let parsed: Value = serde_json::from_str(&report.json()).unwrap();
        assert_eq!(parsed["messages_per_second"], 123_456.7);
        assert_eq!((&parsed["errors"], &parsed["errors_lost"]), (&json!(2), &json!(2)));
        let table = report.table();
        assert!(table.contains("123457 1/s") && table.contains("number 7 never came"), "{table}");
        assert!(!report.is_clean());
    }

    #[test]
    fn a_busy_generator_says_so() {
        for (share, cores, is_busy) in
            [(0.5, 1.0, false), (0.99, 1.0, true), (0.99, 2.0, false), (1.95, 2.0, true)]
        {
            let mut report = Report::new("echo", "ws://h/");
            report.generator_share(share, cores);
            assert_eq!(report.table().contains("limits these figures"), is_busy, "{share} of {cores}");
        }
    }

    #[test]
    fn a_noisy_machine_says_so() {
        let mut report = Report::new("echo", "ws://h/");
        report.waited_share("server", 0.1);
        assert!(!report.table().contains("Other processes"));
        report.waited_share("generator", 0.3);
        assert!(report.table().contains("Other processes"));
    }
}
