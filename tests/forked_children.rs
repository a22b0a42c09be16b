//! Forked children, with the server's own allocator: what they write while other threads of their parent allocate, what they inherit, and how
//! they end.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use gyre::persist::snapshot::forked::{fork_part, PartOptions, EXIT_FAILED};
use gyre::rdb::file::{put_part, trailer, FileChecksum};
use gyre::rdb::{crc64, Compression, Encoder, Format, Version};
use gyre::runtime::alloc::CountingMimalloc;
use gyre::runtime::arena::{self, Inherit};
use gyre::runtime::fork::{fork_child, Child, End, ForkOptions, Turn};
use gyre::store::{Hash, List, Set, SlotSet, Store, Ttl};

#[global_allocator]
static ALLOCATOR: CountingMimalloc = CountingMimalloc;

/// One test at a time: they look at what the whole process has.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    gyre::base::log::set_level(Some(gyre::base::log::Level::Warning));
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Nothing compressed, which takes long in a program that was not optimised.
const FORMAT: Format = Format { version: Version::V11, compression: Compression::None };

/// Threads that allocate and free all the time, blocks of each other too.
struct Unrest {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Unrest {
    fn begin() -> Unrest {
        let stop = Arc::new(AtomicBool::new(false));
        let exchange = Arc::new(Mutex::new(Vec::<Vec<u8>>::new()));
        let threads = (0..2)
            .map(|seed| {
                let (stop, exchange) = (stop.clone(), exchange.clone());
                thread::spawn(move || {
                    let mut random = seed as u32 + 1;
                    let mut mine = Vec::new();
                    while !stop.load(Ordering::Relaxed) {
                        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        let size = 1usize << (random >> 29);
                        mine.push(vec![1u8; size * 13]);
                        if mine.len() > 100 {
                            let mut others = exchange.lock().unwrap();
                            std::mem::swap(&mut *others, &mut mine);
                            drop(others);
                            mine.truncate((random >> 8) as usize % 100);
                        }
                    }
                })
            })
            .collect();
        Unrest { stop, threads }
    }
}

impl Drop for Unrest {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }
}

fn ended(child: &mut Child) -> End {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(end) = child.poll().unwrap() {
            return end;
        }
        assert!(Instant::now() < until, "the child hangs: {:?}", child.progress());
        thread::sleep(Duration::from_millis(1));
    }
}

fn options() -> ForkOptions<'static> {
    ForkOptions { purpose: "RDB", ..ForkOptions::default() }
}

fn part() -> PartOptions<'static> {
    PartOptions {
        format: FORMAT,
        checksum: true,
        head: b"",
        ends_file: false,
        sync_as_it_grows: true,
        key_delay_us: 0,
        as_commands: false,
    }
}

fn path(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("gyre-forked-{name}-{}", std::process::id()))
}

fn store(keys: usize) -> Store {
    let mut store = Store::new(SlotSet::ALL, 16);
    store.set_time(1_700_000_000_000);
    for number in 0..keys {
        let key = format!("key:{number}");
        store.set_string(number % 3, key.as_bytes(), key.repeat(number % 30 + 1).as_bytes(), Ttl::None);
    }
    for number in 0..keys / 1000 {
        let elements = 1 + number * 7 % 700;
        let key = |kind: &str| format!("{kind}:{number}").into_bytes();
        let element = |index: usize| format!("element:{index}:{}", "x".repeat(index % 90)).into_bytes();
        store
            .update_or_create(0, &key("list"), |list: &mut List, tools| {
                (0..elements).for_each(|i| list.push_back(&element(i), tools.settings));
            })
            .unwrap();
        store
            .update_or_create(0, &key("hash"), |hash: &mut Hash, tools| {
                (0..elements).for_each(|i| {
                    hash.set(&element(i), b"value", tools.settings);
                });
            })
            .unwrap();
        store
            .update_or_create(0, &key("set"), |set: &mut Set, tools| {
                (0..elements).for_each(|i| {
                    set.add(&element(i), tools.settings);
                });
            })
            .unwrap();
    }
    store
}

fn expected(store: &Store) -> Vec<u8> {
    let mut bytes = Vec::new();
    assert!(put_part(store, &mut Encoder::new(FORMAT), &mut bytes, &mut |_| true));
    bytes
}

#[test]
fn a_part_is_written_whole_and_right_while_other_threads_allocate() {
    let _alone = alone();
    let mut store = store(60_000);
    let expected = expected(&store);
    assert!(expected.len() > 10 << 20, "enough to be sent to the disk on the way: {}", expected.len());
    let _unrest = Unrest::begin();
    let path = path("part");
    let file = File::create(&path).unwrap();
    let head = b"in front";
    let part = PartOptions { head, ends_file: true, ..part() };
    let mut child = fork_part(Turn::take(), &store, &file, &part, &options()).unwrap();
    // What happens after the fork is not in it.
    for number in 0..60_000 {
        store.set_string(number % 3, format!("key:{number}").as_bytes(), b"changed", Ttl::None);
    }
    assert_eq!(ended(&mut child), End::Exited(0));
    let progress = child.progress();
    let mut whole = [head, &expected[..]].concat();
    let written = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    whole.extend_from_slice(&trailer(FileChecksum::of(&whole), true));
    assert!(written == whole, "{} and {} bytes", written.len(), whole.len());
    assert_eq!((progress.written_bytes, progress.crc), (whole.len() as u64, crc64(&whole)));
    assert_eq!(progress.keys, 60_180);
    assert_eq!(progress.errno, None);
    assert!(progress.copied_bytes_peak > 1 << 20, "the parent has changed all keys: {progress:?}");
    assert!(progress.copied_at_us.is_some());
    assert!(child.fork_us() > 0);
}

#[test]
fn hundreds_of_forks_in_a_row_all_end_well_while_other_threads_allocate() {
    let _alone = alone();
    let store = store(200);
    let expected = crc64(&expected(&store));
    let _unrest = Unrest::begin();
    let path = path("many");
    for _ in 0..300 {
        let file = File::create(&path).unwrap();
        let mut child = fork_part(Turn::take(), &store, &file, &part(), &options()).unwrap();
        assert_eq!(ended(&mut child), End::Exited(0));
        assert_eq!(child.progress().crc, expected);
    }
    fs::remove_file(&path).unwrap();
}

#[test]
fn a_child_may_allocate_as_it_likes_and_free_what_it_inherited() {
    let _alone = alone();
    let _unrest = Unrest::begin();
    for size in [10, 1000, 100_000, 10_000_000] {
        let inherited = vec![7u8; size];
        let mut child = fork_child(&options(), |_| {
            let mut grown = inherited.clone();
            let mut moved = unsafe_copy(&inherited);
            for byte in 0..size {
                grown.push(byte as u8);
            }
            moved.extend_from_slice(&grown);
            let boxed: Vec<Box<[u8]>> = (0..1000).map(|n| vec![n as u8; n * 7].into()).collect();
            let good = grown[..size].iter().all(|b| *b == 7)
                && moved[..size].iter().all(|b| *b == 7)
                && boxed.iter().enumerate().all(|(n, b)| b.iter().all(|byte| *byte == n as u8));
            i32::from(!good)
        })
        .unwrap();
        assert_eq!(ended(&mut child), End::Exited(0), "{size}");
        assert!(inherited.iter().all(|b| *b == 7));
    }
}

/// The same vector twice, of which the child lets one grow: it inherited both.
fn unsafe_copy(vector: &Vec<u8>) -> Vec<u8> {
    // SAFETY: only a child does this, in which inherited memory is never freed, and which ends without dropping the original.
    unsafe { std::ptr::read(vector) }
}

#[test]
fn a_child_has_no_file_but_those_it_was_told_to_keep() {
    let _alone = alone();
    let (path, other) = (path("kept"), path("other"));
    let files: Vec<File> = (0..5).map(|_| File::create(&path).unwrap()).collect();
    let file = File::create(&other).unwrap();
    let keep = [files[3].as_raw_fd(), file.as_raw_fd(), files[1].as_raw_fd()];
    let options = ForkOptions { keep: &keep, ..options() };
    let mut child = fork_child(&options, |_| {
        // The listing's own descriptor is among them.
        let open = fs::read_dir("/proc/self/fd").unwrap().count();
        (open - 1) as i32
    })
    .unwrap();
    assert_eq!(ended(&mut child), End::Exited(3 + 3));
    fs::remove_file(&path).unwrap();
    fs::remove_file(&other).unwrap();
}

#[test]
fn a_child_that_is_asked_to_end_does_and_the_terminal_cannot_ask() {
    let _alone = alone();
    let wait = || {
        fork_child(&options(), |context| {
            context.key_done();
            thread::sleep(Duration::from_secs(60));
            1
        })
    };
    let mut asked = wait().unwrap();
    let mut shot = wait().unwrap();
    while asked.progress().keys == 0 || shot.progress().keys == 0 {
        thread::sleep(Duration::from_millis(1));
    }
    for signal in ["INT", "TERM"] {
        let pid = asked.pid().to_string();
        assert!(std::process::Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
    }
    thread::sleep(Duration::from_millis(20));
    assert_eq!(asked.poll().unwrap(), None);
    asked.kill();
    assert_eq!(ended(&mut asked), End::Killed(10));
    asked.kill();
    let pid = shot.pid().to_string();
    assert!(std::process::Command::new("kill").args(["-9", &pid]).status().unwrap().success());
    assert_eq!(ended(&mut shot), End::Killed(9));
}

#[test]
fn a_child_goes_with_the_thread_that_forked_it_or_with_its_handle() {
    let _alone = alone();
    let wait = || {
        fork_child(&options(), |context| {
            context.key_done();
            thread::sleep(Duration::from_secs(60));
            1
        })
    };
    let forks = move || {
        let child = wait().unwrap();
        while child.progress().keys == 0 {
            thread::yield_now();
        }
        child
    };
    let mut orphan = thread::spawn(forks).join().unwrap();
    assert_eq!(ended(&mut orphan), End::Killed(9));
    let dropped = wait().unwrap();
    let stat = format!("/proc/{}/stat", dropped.pid());
    assert!(fs::exists(&stat).unwrap());
    drop(dropped);
    let until = Instant::now() + Duration::from_secs(10);
    while fs::exists(&stat).unwrap() {
        // The next fork takes it off the list of processes.
        let mut next = fork_child(&options(), |_| 0).unwrap();
        assert_eq!(next.wait().unwrap(), End::Exited(0));
        assert!(Instant::now() < until, "{}", fs::read_to_string(&stat).unwrap());
    }
}

#[test]
fn a_child_that_cannot_write_says_why() {
    let _alone = alone();
    let store = store(20_000);
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut child = fork_part(Turn::take(), &store, &full, &part(), &options()).unwrap();
    assert_eq!(ended(&mut child), End::Exited(EXIT_FAILED));
    assert_eq!(child.progress().errno, Some(28), "ENOSPC");

    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let writer = File::from(std::os::fd::OwnedFd::from(writer));
    let mut child = fork_part(Turn::take(), &store, &writer, &part(), &options()).unwrap();
    assert_eq!(ended(&mut child), End::Exited(EXIT_FAILED));
    assert_eq!(child.progress().errno, Some(32), "EPIPE");
}

#[test]
fn a_part_goes_through_a_pipe_to_a_reader_that_takes_its_time() {
    let _alone = alone();
    let store = store(20_000);
    let (mut reader, writer) = std::io::pipe().unwrap();
    let writer = File::from(std::os::fd::OwnedFd::from(writer));
    let mut child = fork_part(Turn::take(), &store, &writer, &part(), &options()).unwrap();
    drop(writer);
    assert_eq!(child.poll().unwrap(), None);
    let mut got = Vec::new();
    reader.read_to_end(&mut got).unwrap();
    assert_eq!(ended(&mut child), End::Exited(0));
    assert!(got == expected(&store));
}

#[test]
fn a_panic_ends_the_child_and_nothing_else() {
    let _alone = alone();
    let mut child = fork_child(&options(), |_| panic!("this is a test")).unwrap();
    assert_eq!(ended(&mut child), End::Exited(101));
}

/// The bytes of memory that a child has of what lies around an address; 0 when the address is not mapped.
fn mapped_at(address: usize) -> usize {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let ranges = maps.lines().filter_map(|line| line.split(' ').next()?.split_once('-'));
    let number = |text| usize::from_str_radix(text, 16).unwrap();
    ranges
        .map(|(from, to)| number(from)..number(to))
        .find(|range| range.contains(&address))
        .map_or(0, |range| range.len())
}

/// A shard's thread, with a range of its own, that has allocated something.
fn in_a_shard<R: Send + 'static>(act: impl FnOnce(&[u8]) -> R + Send + 'static) -> JoinHandle<R> {
    thread::spawn(|| {
        assert!(arena::enter());
        let block = vec![5u8; 100_000];
        assert!(arena::is_mine(block.as_ptr() as usize));
        act(&block)
    })
}

#[test]
fn a_child_has_the_memory_of_its_own_shard_and_of_no_other() {
    let _alone = alone();
    let (tell, told) = std::sync::mpsc::channel();
    let (end, ended_here) = std::sync::mpsc::channel::<()>();
    let other = in_a_shard(move |block| {
        tell.send(block.as_ptr() as usize).unwrap();
        ended_here.recv().unwrap();
        assert!(block.iter().all(|byte| *byte == 5), "the other's child has changed nothing here");
    });
    let elsewhere = told.recv().unwrap();
    let nowhere = Box::new(7u8);
    let own = in_a_shard(move |block| {
        assert!(!arena::is_mine(elsewhere));
        let fork = |inherit| {
            let mut child = fork_child(&ForkOptions { inherit, ..options() }, |_| {
                let intact = block.iter().all(|byte| *byte == 5) && *nowhere == 7;
                let has_other = mapped_at(elsewhere) > 0;
                i32::from(intact) + 2 * i32::from(has_other)
            })
            .unwrap();
            ended(&mut child)
        };
        assert_eq!(fork(Inherit::OwnShard), End::Exited(1));
        assert_eq!(fork(Inherit::Everything), End::Exited(3));
        assert_eq!(fork(Inherit::OwnShard), End::Exited(1), "the other's range was closed again");
    });
    own.join().unwrap();
    end.send(()).unwrap();
    other.join().unwrap();
}

#[test]
fn shards_exchange_memory_while_each_forks_and_every_part_is_right() {
    let _alone = alone();
    let exchange = Arc::new(Mutex::new(Vec::<Vec<u8>>::new()));
    let shards: Vec<_> = (0..3u8)
        .map(|shard| {
            let exchange = exchange.clone();
            in_a_shard(move |_| {
                let store = store(3000);
                let expected = expected(&store);
                let path = path(&format!("shard-{shard}"));
                for round in 0..20 {
                    let mut mine: Vec<Vec<u8>> = (0..200).map(|n| vec![shard; n * n]).collect();
                    std::mem::swap(&mut mine, &mut exchange.lock().unwrap());
                    drop(mine);
                    let file = File::create(&path).unwrap();
                    let mut child = fork_part(Turn::take(), &store, &file, &part(), &options()).unwrap();
                    assert_eq!(ended(&mut child), End::Exited(0), "round {round}");
                    assert_eq!(child.progress().crc, crc64(&expected));
                }
                assert!(fs::read(&path).unwrap() == expected);
                fs::remove_file(&path).unwrap();
            })
        })
        .collect();
    for shard in shards {
        shard.join().unwrap();
    }
}

#[test]
fn a_refused_fork_is_an_error_and_leaves_nothing_behind() {
    let _alone = alone();
    let mode = fs::read_to_string("/proc/sys/vm/overcommit_memory").unwrap_or_default();
    if mode.trim() != "0" {
        return;
    }
    // The rule that the system has by default refuses one area larger than the machine's memory. Two adjacent ones that were granted
    // one by one are one when a fork asks for a copy.
    let memory = gyre::runtime::sys::memory_bytes() as usize;
    let half = (memory / 3 * 2).next_multiple_of(4096);
    // SAFETY: a fresh area, of which nothing is touched; two parts of it are made writable and all is unmapped again.
    let refused = unsafe {
        let none = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let start = libc::mmap(std::ptr::null_mut(), half * 2, libc::PROT_NONE, none, -1, 0);
        assert_ne!(start, libc::MAP_FAILED);
        for part in [start, start.byte_add(half)] {
            assert_eq!(libc::mprotect(part, half, libc::PROT_READ | libc::PROT_WRITE), 0);
        }
        let refused = fork_child(&options(), |_| 0);
        libc::munmap(start, half * 2);
        refused
    };
    assert_eq!(refused.err().and_then(|error| error.raw_os_error()), Some(libc::ENOMEM));
    let mut child = fork_child(&options(), |_| 0).unwrap();
    assert_eq!(ended(&mut child), End::Exited(0), "the next one succeeds");
}
