//! The table: what each figure is compared with, what its target is, and whether that is met. The only place that
//! names targets.

use std::fmt::Write as _;

use crate::figures::Figures;

/// One line of the table.
struct Row {
    what: String,
    figure: String,
    comparison: String,
    target: String,
    is_met: Option<bool>,
}

/// The lines of a table under way.
struct Table<'f> {
    figures: &'f Figures,
    rows: Vec<Row>,
}

const MB: f64 = 1e6;

/// The table of what was measured, as Markdown. Rows whose figure was not measured are left out.
pub fn of(figures: &Figures) -> String {
    let mut table = Table {
        figures,
        rows: Vec::new(),
    };
    parse(&mut table);
    capture(&mut table);
    publisher(&mut table);
    latency(&mut table);
    memory(&mut table);
    growth(&mut table);
    size(&mut table);
    table.print()
}

fn parse(table: &mut Table<'_>) {
    for unit in ["ns", "instructions"] {
        for (stage, words, beside) in [
            ("crc_and_parse", "CRC and parse of a DSMR 5 telegram", "dsmr5 0.4"),
            (
                "json",
                "the same to finished JSON",
                "dsmr5 0.4, which holds fewer values",
            ),
            ("stream", "found in a stream of bytes, CRC and parse", "dsmr5 0.4"),
        ] {
            table.against(
                words,
                &format!("{stage}_ours_{unit}"),
                1.0,
                unit,
                &[(&format!("{stage}_dsmr5_{unit}"), beside)],
                (stage == "crc_and_parse").then_some(("ahead", 1.0)),
            );
        }
    }
}

fn capture(table: &mut Table<'_>) {
    for (interval, group) in [("0s", 1), ("1s", 1), ("10s", 10), ("60s", 60)] {
        let bound = match interval {
            "0s" => Some(5e3),
            "10s" => Some(1e3),
            _ => None,
        };
        if interval != "1s" {
            table.row(
                &format!("written a telegram, flush {interval}, the queue in meter time"),
                &format!("queue_{group}_written_bytes"),
                1.0,
                "B",
                &[
                    (&format!("plain_{group}_written_bytes"), "append and fdatasync"),
                    (&format!("sqlite_{group}_written_bytes"), "SQLite WAL"),
                ],
                bound,
            );
            table.row(
                &format!("CPU a telegram, flush {interval}, the queue alone"),
                &format!("queue_{group}_cpu_us"),
                1.0,
                "µs",
                &[
                    (&format!("plain_{group}_cpu_us"), "append and fdatasync"),
                    (&format!("sqlite_{group}_cpu_us"), "SQLite WAL"),
                ],
                None,
            );
        }
        table.row(
            &format!("written a telegram, flush {interval}, capture at 1 a second"),
            &format!("live_{interval}_written_bytes"),
            1.0,
            "B",
            &[],
            None,
        );
    }
    table.row(
        "stored a telegram, a day of the household",
        "stored_bytes",
        1.0,
        "B",
        &[("stored_raw_bytes", "raw"), ("stored_sqlite_bytes", "SQLite")],
        Some(60.0),
    );
    table.row(
        "stored a telegram, a day of a real capture",
        "stored_capture_bytes",
        1.0,
        "B",
        &[("stored_capture_raw_bytes", "raw")],
        Some(60.0),
    );
    for interval in ["0s", "1s", "10s", "60s"] {
        let each = [
            (format!("live_{interval}_capture_cpu_us"), "capture"),
            (format!("live_{interval}_publisher_cpu_us"), "publisher"),
        ];
        let mut beside: Vec<(&str, &str)> =
            each.iter().map(|(name, words)| (name.as_str(), *words)).collect();
        if interval == "0s" {
            beside.push(("live_plain_cpu_us", "append and fdatasync alone"));
        }
        let what = format!("CPU a telegram, both processes at 1 a second, flush {interval}");
        table.row(
            &what,
            &format!("live_{interval}_cpu_us"),
            1.0,
            "µs",
            &beside,
            Some(500.0),
        );
    }
    let each = [
        ("flat_capture_cpu_us", "capture"),
        ("flat_publisher_cpu_us", "publisher"),
    ];
    table.row(
        "CPU a telegram, both processes flat out",
        "flat_cpu_us",
        1.0,
        "µs",
        &each,
        Some(500.0),
    );
    table.row(
        "accepted a second, flat out",
        "flat_telegrams_per_second",
        1.0,
        "/s",
        &[],
        None,
    );
    table.row(
        "written a telegram, flat out",
        "flat_written_bytes",
        1.0,
        "B",
        &[],
        None,
    );
    for (depth, words) in [(3_600, "an hour"), (86_400, "a day"), (2_592_000, "30 days")] {
        table.row(
            &format!("CPU a telegram, capture flat out, {words} in the queue"),
            &format!("depth_{depth}_cpu_us"),
            1.0,
            "µs",
            &[],
            None,
        );
        table.row(
            &format!("written a telegram, flat out, {words} in the queue"),
            &format!("depth_{depth}_written_bytes"),
            1.0,
            "B",
            &[],
            None,
        );
        table.row(
            &format!("resident, capture, {words} in the queue"),
            &format!("depth_{depth}_resident_bytes"),
            MB,
            "MB",
            &[],
            Some(12.0),
        );
        let what = format!("start to serving, capture, {words} in the queue");
        table.row(&what, &format!("depth_{depth}_start_ms"), 1.0, "ms", &[], None);
    }
}

fn publisher(table: &mut Table<'_>) {
    table.row(
        "24 h of backlog to a local mosquitto, an array a minute",
        "backlog_local_s",
        1.0,
        "s",
        &[("bare_local_s", "bare rumqttc")],
        Some(3.0),
    );
    table.share(
        "the same as a share of the bare loop's rate",
        "bare_local_s",
        "backlog_local_s",
        70.0,
    );
    table.row(
        "the same with summary and state",
        "backlog_local_all_topics_s",
        1.0,
        "s",
        &[],
        None,
    );
    table.row(
        "the same over a 50 ms round trip",
        "backlog_50ms_s",
        1.0,
        "s",
        &[("bare_50ms_s", "bare rumqttc, as much in flight")],
        Some(15.0),
    );
    table.against(
        "the same over 50 ms, an array a second",
        "backlog_50ms_each_s",
        1.0,
        "s",
        &[("bare_50ms_each_s", "bare rumqttc, as much in flight")],
        Some(("within twice", 2.0)),
    );
    table.row(
        "24 h locally, an array a second",
        "backlog_local_each_s",
        1.0,
        "s",
        &[("bare_local_each_s", "bare rumqttc")],
        None,
    );
    table.share(
        "the same as a share of the bare loop's rate, an array a second",
        "bare_local_each_s",
        "backlog_local_each_s",
        70.0,
    );
    let each = [("backlog_capture_cpu_us", "capture")];
    table.row(
        "CPU a telegram of backlog, publisher",
        "backlog_publisher_cpu_us",
        1.0,
        "µs",
        &each,
        None,
    );
}

fn latency(table: &mut Table<'_>) {
    let sync = [
        ("sync_median_ms", "a sync, median"),
        ("sync_99_ms", "a sync, 99 of 100"),
    ];
    for (what, words, bound) in [
        ("latency", "last byte to subscriber", Some(5.0)),
        (
            "latency_memory",
            "last byte to subscriber, the queue in memory",
            Some(5.0),
        ),
        ("latency_1s", "last byte to subscriber, flush 1s", None),
    ] {
        let beside = if what == "latency" { &sync[..] } else { &[] };
        table.row(
            &format!("{words}, median"),
            &format!("{what}_median_ms"),
            1.0,
            "ms",
            beside,
            None,
        );
        table.row(
            &format!("{words}, 99 of 100"),
            &format!("{what}_99_ms"),
            1.0,
            "ms",
            &[],
            bound,
        );
        table.row(
            &format!("{words}, worst"),
            &format!("{what}_worst_ms"),
            1.0,
            "ms",
            &[],
            None,
        );
    }
}

fn memory(table: &mut Table<'_>) {
    let days = table.figures.value("memory_days").unwrap_or(30.0);
    for (what, words) in [
        ("rest", "at rest".to_owned()),
        ("waiting", format!("{days} days waiting, broker away")),
        ("delivering", format!("delivering {days} days, peak")),
        ("replay", "replaying, peak".to_owned()),
    ] {
        for program in ["capture", "publisher"] {
            let figure = format!("memory_{what}_{program}_bytes");
            table.row(
                &format!("resident, {program}, {words}"),
                &figure,
                MB,
                "MB",
                &[],
                Some(12.0),
            );
        }
    }
}

fn growth(table: &mut Table<'_>) {
    for step in [1_000, 10_000, 100_000, 1_000_000, 10_000_000, 30_000_000_u64] {
        for (what, words, scale, unit) in [
            ("open_ms", "opening", 1.0, "ms"),
            ("resident_bytes", "resident after opening", MB, "MB"),
            ("append_us", "append and flush, CPU", 1.0, "µs"),
            ("append_written_bytes", "append and flush, written", 1.0, "B"),
            ("read_us", "reading one anywhere, CPU", 1.0, "µs"),
            ("read_in_order_us", "reading in order, CPU a telegram", 1.0, "µs"),
            ("disk_bytes", "on disk a telegram", 1.0, "B"),
        ] {
            let what = format!("growth_{step}_{what}");
            table.row(&format!("{words}, {step} stored"), &what, scale, unit, &[], None);
        }
    }
}

fn size(table: &mut Table<'_>) {
    let worst = [("start_accepted_worst_ms", "worst")];
    table.row(
        "capture's start to the first telegram accepted",
        "start_accepted_ms",
        1.0,
        "ms",
        &worst,
        None,
    );
    table.row(
        "publisher's start to connected",
        "start_connected_ms",
        1.0,
        "ms",
        &[],
        None,
    );
    for program in ["capture", "publisher"] {
        let what = format!("size of {program}, stripped");
        table.row(&what, &format!("size_{program}_bytes"), MB, "MB", &[], None);
        let what = format!("crates in {program}");
        table.row(&what, &format!("crates_{program}"), 1.0, "", &[], None);
    }
}

impl Table<'_> {
    /// A row with an upper bound, in the unit that is shown.
    fn row(
        &mut self,
        what: &str,
        figure: &str,
        scale: f64,
        unit: &str,
        beside: &[(&str, &str)],
        bound: Option<f64>,
    ) {
        let Some(value) = self.figures.value(figure) else {
            return;
        };
        let value = value / scale;
        let target = bound.map(|bound| (format!("< {bound} {unit}"), value < bound));
        self.push(what, value, scale, unit, beside, target);
    }

    /// A row whose bound is so many times the first figure beside it.
    fn against(
        &mut self,
        what: &str,
        figure: &str,
        scale: f64,
        unit: &str,
        beside: &[(&str, &str)],
        bound: Option<(&str, f64)>,
    ) {
        let Some(value) = self.figures.value(figure) else {
            return;
        };
        let other = beside.first().and_then(|(name, _)| self.figures.value(name));
        let target = bound
            .zip(other)
            .map(|((words, times), other)| (words.to_owned(), value < other * times));
        self.push(what, value / scale, scale, unit, beside, target);
    }

    /// A share in hundredths with a lower bound.
    fn share(&mut self, what: &str, part: &str, whole: &str, bound: f64) {
        let both = self.figures.value(part).zip(self.figures.value(whole));
        let Some(share) = both.map(|(part, whole)| part / whole * 100.0) else {
            return;
        };
        self.push(
            what,
            share,
            1.0,
            "%",
            &[],
            Some((format!("≥ {bound} %"), share >= bound)),
        );
    }

    fn push(
        &mut self,
        what: &str,
        value: f64,
        scale: f64,
        unit: &str,
        beside: &[(&str, &str)],
        target: Option<(String, bool)>,
    ) {
        let beside: Vec<String> = beside
            .iter()
            .filter_map(|(name, words)| {
                Some(format!("{words}: {}", shown(self.figures.value(name)? / scale)))
            })
            .collect();
        self.rows.push(Row {
            what: what.to_owned(),
            figure: format!("{} {unit}", shown(value)),
            comparison: beside.join("; "),
            is_met: target.as_ref().map(|(_, is_met)| *is_met),
            target: target.map_or_else(String::new, |(words, _)| words),
        });
    }

    fn print(&self) -> String {
        let mut text =
            String::from("| what | this machine | beside it | target | |\n|---|---|---|---|---|\n");
        for row in &self.rows {
            let met = match row.is_met {
                Some(true) => "met",
                Some(false) => "**not met**",
                None => "",
            };
            let Row {
                what,
                figure,
                comparison,
                target,
                ..
            } = row;
            // A text takes whatever is written into it.
            let _ = writeln!(text, "| {what} | {figure} | {comparison} | {target} | {met} |");
        }
        text
    }
}

/// Three digits, as much as a measurement is worth.
fn shown(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
