//! `gyre-load`: argument parsing and exit codes; the work is in the library.
//!
//! Exit codes: 0 all requests were answered as they should be, 1 some were not or the run failed, 2 the
//! options make no sense.

use clap::Parser;
use gyre_perf::options::{Mode, Options};
use gyre_perf::{report, run};
use std::process::ExitCode;

fn main() -> ExitCode {
    let (plan, common, filled) = match Options::parse().mode {
        Mode::Run(options) => (options.plan(), options.common, false),
        Mode::Fill(options) => (options.plan(), options.common, true),
    };
    let plan = match plan {
        Ok(plan) => plan,
        Err(error) => {
            eprintln!("gyre-load: {error}");
            return ExitCode::from(2);
        }
    };
    let findings = match run::run(&plan) {
        Ok(findings) => findings,
        Err(error) => {
            eprintln!("gyre-load: {:?}: {error}", plan.address);
            return ExitCode::FAILURE;
        }
    };
    print!("{}", report::table(&findings, filled));
    let mut written = Ok(());
    if let Some(path) = &common.json {
        let text = format!("{:#}\n", report::json(&findings, &common.label));
        written = written.and(std::fs::write(path, text));
    }
    if let Some(path) = &common.histogram {
        let overall = findings.meter.overall();
        written = written.and(report::write_histogram(&overall, findings.seconds, path));
    }
    if let Err(error) = &written {
        eprintln!("gyre-load: cannot write the result: {error}");
    }
    if written.is_ok() && findings.meter.failures.none() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
