//! What a power failure leaves of the logs: of what was not synced, any part, and at its end whatever the disk made of it.
//!
//! While the server runs, the lengths of the files are taken down with what was acknowledged before (`Sample`). After the kill each
//! log is cut at any byte behind the sample's length: then everything that was acknowledged in the sample is on the disk, and of what
//! came later each shard has kept as much as chance would have it.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::support::Random;
use gyre::persist::aof::Folder;

const SAMPLE_INTERVAL: Duration = Duration::from_millis(3);
const BLOCK_BYTES: u64 = 4096;
const SECTOR_BYTES: u64 = 512;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// Only the process died: the kernel still has all that it was given.
    None,
    /// Cut behind what was durable.
    Cut,
    /// The same, and the rest of the block is zeros.
    Zeros,
    /// The same, and the rest of the sector is garbage.
    Garbage,
    /// Cut anywhere: no promise on what is lost, but nothing is there by half.
    Anywhere,
    /// Not the files themselves but copies, made one after the other while the server ran.
    Copy,
}

#[derive(Clone)]
pub struct Sample {
    pub at: Instant,
    /// By client, how much was acknowledged before the lengths were taken.
    pub acknowledged: Vec<usize>,
    lens: HashMap<String, u64>,
}

pub fn acknowledged(progress: &[Arc<AtomicUsize>]) -> Vec<usize> {
    progress.iter().map(|count| count.load(Ordering::Acquire)).collect()
}

/// Takes samples until told to stop.
pub fn sample(data: &Path, progress: &[Arc<AtomicUsize>], stop: &AtomicBool) -> Vec<Sample> {
    let mut samples = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let (at, acknowledged) = (Instant::now(), acknowledged(progress));
        let files = fs::read_dir(data.join("appendonlydir")).into_iter().flatten().flatten();
        let lens = files
            .filter_map(|item| Some((item.file_name().into_string().ok()?, item.metadata().ok()?.len())));
        samples.push(Sample { at, acknowledged, lens: lens.collect() });
        std::thread::sleep(SAMPLE_INTERVAL);
    }
    samples
}

/// The file that each shard's log ended in.
fn last_files(data: &Path, shards: usize) -> Vec<PathBuf> {
    let folder = Folder::new(data, "appendonlydir".as_ref(), "appendonly.aof".as_ref());
    let Ok(manifest) = folder.load(shards as u16) else { return Vec::new() };
    let newest = manifest.newest();
    if usize::from(newest.shards()) != shards {
        return Vec::new();
    }
    let last = |shard: usize| {
        let chain = newest.chain(shard as u16)?;
        let paths = chain.increments.iter().map(|entry| folder.path_of(&entry.name));
        paths.rev().find(|path| fs::metadata(path).is_ok_and(|file| file.len() > 0))
    };
    (0..shards).filter_map(last).collect()
}

/// The file before that one, if it may not be durable yet: it ends with a barrier, at which a rewrite began that had not come far.
fn older_file(data: &Path, last: &Path) -> Option<PathBuf> {
    let is_of_last = |bytes: &[u8]| bytes.windows(5).any(|window| window == b"#CUT:");
    if is_of_last(&fs::read(last).ok()?) {
        return None;
    }
    let name = last.file_name()?.to_str()?;
    let (front, number) = name.strip_suffix(".incr.aof")?.rsplit_once('.')?;
    let before: u64 = number.parse::<u64>().ok()?.checked_sub(1)?;
    let path = data.join("appendonlydir").join(format!("{front}.{before}.incr.aof"));
    path.exists().then_some(path)
}

fn end_of_last_barrier_but_one(path: &Path) -> u64 {
    let bytes = fs::read(path).unwrap_or_default();
    let mut barriers = bytes.windows(5).enumerate().rev().filter(|(_, window)| window == b"#CUT:");
    let at = barriers.nth(1).map_or(0, |(at, _)| at);
    if at == 0 {
        return 0;
    }
    at as u64 + bytes[at..].iter().position(|byte| *byte == b'\n').map_or(0, |end| end as u64 + 1)
}

/// Does to the logs what `damage` says. `floor`: what is kept in any case; `orders_files`: nothing is written to a file before the
/// one in front of it is durable. Returns what was done, in words.
pub fn strike(
    data: &Path,
    shards: usize,
    damage: Damage,
    floor: Option<&Sample>,
    orders_files: bool,
    random: &mut Random,
) -> Vec<String> {
    let mut done = Vec::new();
    for path in last_files(data, shards) {
        let older = if orders_files { None } else { older_file(data, &path) };
        // One that was there early has been synced since.
        let is_new =
            |name: &str| floor.is_some_and(|sample| sample.lens.get(name).copied().unwrap_or(0) == 0);
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(older) = older.filter(|_| is_new(&name) && random.one_in(2)) {
            let name = older.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let len = fs::metadata(&older).map_or(0, |file| file.len());
            let durable = floor.and_then(|sample| sample.lens.get(&name).copied()).unwrap_or(0);
            // The base of another shard may count up to the barrier in front of the last one.
            let durable = durable.max(end_of_last_barrier_but_one(&older)).min(len);
            let at = durable + random.below((len - durable + 1) as usize) as u64;
            let file = OpenOptions::new().write(true).open(&older).expect("the log can be written");
            file.set_len(at).expect("a file can be cut");
            done.push(format!("{name}, which is not the last: cut at {at} of {len}, durable {durable}"));
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let bytes = fs::read(&path).expect("the log can be read");
        let len = bytes.len() as u64;
        let durable = floor.map_or(0, |sample| sample.lens.get(&name).copied().unwrap_or(0));
        // Bases count only when all logs are durable up to the barrier that they were made at.
        let barrier = bytes
            .windows(5)
            .rposition(|window| window == b"#CUT:")
            .map_or(0, |at| at + bytes[at..].iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1));
        let from = durable.max(barrier as u64).min(len);
        let at = match random.below(8) {
            0 => len,
            1 => from,
            _ => from + random.below((len - from + 1) as usize) as u64,
        };
        let file = OpenOptions::new().write(true).open(&path).expect("the log can be written");
        file.set_len(at).expect("a file can be cut");
        match damage {
            Damage::Zeros => file.set_len(at.next_multiple_of(BLOCK_BYTES)).expect("a file can grow"),
            Damage::Garbage => put_garbage(&path, at, random),
            _ => {}
        }
        done.push(format!("{name}: cut at {at} of {len}, durable {durable}, {damage:?}"));
    }
    done
}

fn put_garbage(path: &Path, at: u64, random: &mut Random) {
    let garbage: Vec<u8> = (at..at.next_multiple_of(SECTOR_BYTES)).map(|_| random.next() as u8).collect();
    let mut file = File::options().append(true).open(path).expect("the log can be written");
    file.write_all(&garbage).expect("the log can be written");
}

/// Takes garbage off again, as whoever runs the server is told to do.
pub fn mend(data: &Path, shards: usize) {
    use gyre::persist::aof::scan::Scanner;
    for path in last_files(data, shards) {
        let file = OpenOptions::new().read(true).write(true).open(&path).expect("the log can be written");
        let mut scanner = Scanner::new(&file, 0).expect("the log can be read");
        while let Ok(Some(_)) = scanner.next_mark() {}
        file.set_len(scanner.whole()).expect("a file can be cut");
    }
}
