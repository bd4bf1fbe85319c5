//! Reading holds no more than what is asked for. Alone in its process, so that nothing else moves the numbers.

use std::io::{self, Read};

use jetsweep_engine::bars::{Bars, Fault};
use jiff::civil::date;

/// Bars of the file, one a minute. All of them take 144 MB.
const BARS: u32 = 3_000_000;

/// A file that is made as it is read.
struct Minutes {
    next: u32,
    line: Vec<u8>,
}

impl Read for Minutes {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.line.is_empty() && self.next < BARS {
            let (day, minute) = (self.next / 1440, self.next % 1440);
            let at = date(2000, 1, 1).checked_add(jiff::Span::new().days(i64::from(day))).unwrap();
            self.line = format!("{at}T{:02}:{:02},2,3,1,2,100\n", minute / 60, minute % 60).into_bytes();
            self.next += 1;
        }
        let count = buffer.len().min(self.line.len());
        buffer[..count].copy_from_slice(&self.line[..count]);
        self.line.drain(..count);
        Ok(count)
    }
}

/// A value of `/proc/self/status`, in bytes.
fn memory(key: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    let kib: u64 = line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap();
    kib * 1024
}

#[test]
fn a_part_of_a_large_file_is_read_in_little_memory() {
    const MOST_BYTES: u64 = 1 << 20;
    const MOST_EXTRA_BYTES: u64 = 16 << 20;
    let header = b"date,open,high,low,close,volume\n".to_vec();
    let read = |from, to| {
        let file = Minutes { next: 0, line: header.clone() };
        Bars::read_csv_between(file, "minutes.csv", Some(from), to, MOST_BYTES)
    };
    let before = memory("VmRSS");
    assert_eq!(read(date(2001, 1, 1), Some(date(2001, 1, 7))).unwrap().len(), 7 * 1440);
    // More than there is room for are counted and not held.
    let Fault::TooLarge { bytes, .. } = read(date(2000, 1, 2), None).unwrap_err().fault else { panic!("too large") };
    assert!(bytes > u64::from(BARS - 1440) * 48);
    let extra = memory("VmHWM").saturating_sub(before);
    assert!(extra < MOST_EXTRA_BYTES, "{extra} bytes");
}
