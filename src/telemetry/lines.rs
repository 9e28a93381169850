//! Log lines on their way to standard output: collected in memory and written in batches by one
//! thread, so that a request neither waits for a terminal nor wakes a thread for every line.
//!
//! The buffer is bounded. When it is full, whoever writes waits: no line is ever dropped, least of
//! all an audit line.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// Some 20 000 lines: enough for any hiccup of a disk, little enough to hold.
const CAPACITY: usize = 8 * 1024 * 1024;
/// Lines are collected this long before they are written; nobody reads faster.
const COLLECT: Duration = Duration::from_millis(5);

/// Where lines are written to. Clones share one buffer.
#[derive(Clone)]
pub(super) struct Lines(Arc<Shared>);

#[derive(Default)]
struct Shared {
    buffer: Mutex<Buffer>,
    filled: Condvar,
    drained: Condvar,
}

#[derive(Default)]
struct Buffer {
    bytes: Vec<u8>,
    closed: bool,
}

/// Writes out what is left when it is dropped.
#[derive(Debug)]
pub struct LinesGuard {
    lines: Lines,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lines")
    }
}

/// Where audit lines go as well; unset in programs that log nothing.
static OUT: OnceLock<Lines> = OnceLock::new();

/// Writes one line to where [`start_once`] said.
pub(super) fn write(line: &[u8]) {
    if let Some(lines) = OUT.get() {
        // The buffer takes everything.
        let _ = (&*lines).write(line);
    }
}

/// Starts the thread that writes to standard output; once in a process.
pub(super) fn start_once() -> io::Result<(Lines, LinesGuard)> {
    let (lines, guard) = start(io::stdout())?;
    match OUT.set(lines.clone()) {
        Ok(()) => Ok((lines, guard)),
        Err(_) => Err(io::Error::other("logging was started before")),
    }
}

/// Starts the thread that writes to `out`.
fn start(out: impl Write + Send + 'static) -> io::Result<(Lines, LinesGuard)> {
    let lines = Lines(Arc::default());
    let shared = Arc::clone(&lines.0);
    let thread = std::thread::Builder::new().name("log-lines".into());
    let thread = Some(thread.spawn(move || shared.write_out(out))?);
    let guard = LinesGuard {
        lines: lines.clone(),
        thread,
    };
    Ok((lines, guard))
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Buffer> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_out(&self, mut out: impl Write) {
        let mut batch = Vec::new();
        loop {
            let empty = |buffer: &mut Buffer| buffer.bytes.is_empty() && !buffer.closed;
            let waited = self.filled.wait_while(self.lock(), empty);
            let closed = waited.unwrap_or_else(PoisonError::into_inner).closed;
            if !closed {
                std::thread::sleep(COLLECT);
            }
            std::mem::swap(&mut batch, &mut self.lock().bytes);
            self.drained.notify_all();
            // Nobody is left to be told when standard output is gone.
            let _ = out.write_all(&batch).and_then(|()| out.flush());
            if closed && batch.is_empty() {
                return;
            }
            batch.clear();
        }
    }
}

impl Write for &Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let full = |buffer: &mut Buffer| buffer.bytes.len() > CAPACITY && !buffer.closed;
        let room = self.0.drained.wait_while(self.0.lock(), full);
        let mut buffer = room.unwrap_or_else(PoisonError::into_inner);
        if buffer.bytes.is_empty() {
            self.0.filled.notify_one();
        }
        buffer.bytes.extend_from_slice(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = &'a Lines;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

impl Drop for LinesGuard {
    fn drop(&mut self) {
        self.lines.0.lock().closed = true;
        self.lines.0.filled.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A terminal that takes its time.
    struct Slow(Arc<Mutex<Vec<u8>>>);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            std::thread::sleep(Duration::from_millis(1));
            let taken = bytes.len().min(1024 * 1024);
            self.0.lock().unwrap().extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn no_line_is_lost_however_slow_the_reader_and_the_buffer_stays_bounded() {
        let written = Arc::new(Mutex::new(Vec::new()));
        let (lines, guard) = start(Slow(Arc::clone(&written))).unwrap();
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let lines = lines.clone();
                std::thread::spawn(move || {
                    for number in 0..20_000 {
                        let line = format!("{writer} {number} {}\n", "x".repeat(400));
                        (&lines).write_all(line.as_bytes()).unwrap();
                        assert!(lines.0.lock().bytes.len() <= CAPACITY + 4096);
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.join().unwrap();
        }
        drop(guard);
        let written = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        assert_eq!(written.lines().count(), 80_000);
        for writer in ["0 ", "1 ", "2 ", "3 "] {
            let own = written.lines().filter(|line| line.starts_with(writer));
            let numbers: Vec<usize> = own
                .map(|line| line.split(' ').nth(1).unwrap().parse().unwrap())
                .collect();
            assert!(numbers.is_sorted() && numbers.len() == 20_000, "in order");
        }
    }
}
