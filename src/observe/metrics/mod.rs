//! What the server can be asked about itself: each metric's name, kind and meaning stands in one table, and whoever knows a value
//! reports it under the name. INFO shows a report as text; an endpoint for OpenMetrics has the kinds and the help from the same rows.

mod table;

use crate::base::text::Text;
use std::io::Write as _;

pub use table::*;

/// How a metric's value changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows, until CONFIG RESETSTAT or the next start.
    Counter,
    Gauge,
    /// It is no number.
    Text,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Metric {
    /// As INFO has it; unique.
    pub name: &'static str,
    pub kind: Kind,
    /// A line for people.
    pub help: &'static str,
}

const fn counter(name: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Counter, help }
}

const fn gauge(name: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, help }
}

const fn text(name: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Text, help }
}

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Whole(i128),
    /// Shown with two digits behind the point.
    Ratio(f64),
    /// The same, with a sign behind it.
    Percent(f64),
    /// Shown as seconds.
    Microseconds(i64),
    Text(Text),
}

macro_rules! whole {
    ($($number:ty)*) => {
        $(impl From<$number> for Value {
            fn from(number: $number) -> Value {
                Value::Whole(number as i128)
            }
        })*
    };
}

whole!(u8 u16 u32 u64 usize i32 i64);

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.to_owned().into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::Text(text.into())
    }
}

impl From<Text> for Value {
    fn from(text: Text) -> Value {
        Value::Text(text)
    }
}

impl Value {
    fn put(&self, out: &mut Vec<u8>) {
        // Writing to memory does not fail.
        let _ = match self {
            Value::Whole(number) => write!(out, "{number}"),
            Value::Ratio(number) => write!(out, "{number:.2}"),
            Value::Percent(number) => write!(out, "{number:.2}%"),
            Value::Microseconds(us) => write!(out, "{}.{:06}", us / 1_000_000, us % 1_000_000),
            Value::Text(text) => out.write_all(text),
        };
    }
}

#[derive(Debug)]
enum Item {
    Value(&'static Metric, Value),
    /// A line about one of several things, such as a command or a database.
    Line(Vec<u8>),
}

/// The values of one section at one instant.
#[derive(Debug)]
pub struct Report {
    section: &'static [Metric],
    /// How much of the section has been reported, or passed over as not there at present.
    next: usize,
    items: Vec<Item>,
}

impl Report {
    pub fn new(section: &'static [Metric]) -> Report {
        Report { section, next: 0, items: Vec::new() }
    }

    /// Reports a value of the section. They come in the order of the table.
    pub fn put(&mut self, name: &str, value: impl Into<Value>) {
        let rest = &self.section[self.next..];
        let Some(at) = rest.iter().position(|metric| metric.name == name) else {
            debug_assert!(false, "{name} is not in the table, or not in its order");
            return;
        };
        self.items.push(Item::Value(&rest[at], value.into()));
        self.next += at + 1;
    }

    pub fn line(&mut self, line: Vec<u8>) {
        self.items.push(Item::Line(line));
    }

    /// As INFO shows it.
    pub fn put_info(&self, out: &mut Vec<u8>) {
        for item in &self.items {
            match item {
                Item::Value(metric, value) => {
                    out.extend_from_slice(metric.name.as_bytes());
                    out.push(b':');
                    value.put(out);
                }
                Item::Line(line) => out.extend_from_slice(line),
            }
            out.extend_from_slice(b"\r\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const SECTIONS: [&[Metric]; 10] =
        [SERVER, CLIENTS, MEMORY, PERSISTENCE, STATS, REPLICATION, CPU, CLUSTER, SHARDS, DEBUG];

    #[test]
    fn each_name_stands_in_the_table_once_with_a_line_of_help() {
        let mut names = HashSet::new();
        for metric in SECTIONS.into_iter().flatten() {
            assert!(names.insert(metric.name), "{} stands there twice", metric.name);
            let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
            assert!(metric.name.bytes().all(is_plain), "{}", metric.name);
            assert!(!metric.help.is_empty() && !metric.help.contains('\n'), "{}", metric.name);
        }
    }

    #[test]
    fn a_report_is_shown_in_the_table_s_order_with_lines_between() {
        let mut report = Report::new(CPU);
        report.put("used_cpu_sys", Value::Microseconds(1_000_002));
        report.line(b"a line".to_vec());
        report.put("used_cpu_user_children", Value::Percent(1.0 / 3.0));
        report.put("used_cpu_sys_main_thread", Value::Ratio(2.0));
        report.put("used_cpu_user_main_thread", -1);
        let mut out = Vec::new();
        report.put_info(&mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "used_cpu_sys:1.000002\r\na line\r\nused_cpu_user_children:0.33%\r\nused_cpu_sys_main_thread:2.00\r\n\
             used_cpu_user_main_thread:-1\r\n"
        );
    }

    #[test]
    #[should_panic(expected = "not in its order")]
    fn a_value_out_of_order_is_a_bug() {
        let mut report = Report::new(CPU);
        report.put("used_cpu_user", 1);
        report.put("used_cpu_sys", 1);
    }
}
