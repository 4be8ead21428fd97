//! Octets of a connection that were read and not yet taken: one piece of memory that grows to a limit.

/// Octets that a read should have room for; below that what is pending moves to the front.
const ROOM_MIN: usize = 16 << 10;
/// Pending octets that are moved to the front whenever that is possible.
const MOVED: usize = 4 << 10;

/// Octets read and not yet taken, between `start` and `end`.
#[derive(Debug)]
pub struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Buffer {
    /// An empty one of that many octets.
    pub fn new(capacity: usize) -> Self {
        Self { bytes: vec![0; capacity.max(1)], start: 0, end: 0 }
    }

    /// Octets of memory.
    pub fn capacity(&self) -> usize {
        self.bytes.len()
    }

    /// What is not yet taken.
    pub fn pending(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    /// Room to read into, behind what is pending; never empty. Grows to hold `line_max` pending octets and a read more.
    pub fn room(&mut self, line_max: usize) -> &mut [u8] {
        let pending = self.end - self.start;
        if self.start > 0 && (pending <= MOVED || self.bytes.len() - self.end < ROOM_MIN) {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, pending);
        }
        if self.end == self.bytes.len() {
            let most = line_max.saturating_add(ROOM_MIN).max(self.bytes.len() + 1);
            self.bytes.resize((self.bytes.len() * 2).min(most), 0);
        }
        self.bytes.get_mut(self.end..).unwrap_or_default()
    }

    /// `count` octets were put into the room.
    pub fn filled(&mut self, count: usize) {
        self.end = (self.end + count).min(self.bytes.len());
    }

    /// Appends octets, as a read would.
    pub fn put(&mut self, octets: &[u8]) {
        let end = self.end + octets.len();
        if end > self.bytes.len() {
            self.bytes.resize(end, 0);
        }
        if let Some(room) = self.bytes.get_mut(self.end..end) {
            room.copy_from_slice(octets);
        }
        self.end = end;
    }

    /// Takes octets from the front.
    pub fn consume(&mut self, count: usize) -> &[u8] {
        let from = self.start;
        let to = (from + count).min(self.end);
        (self.start, self.end) = if to == self.end { (0, 0) } else { (to, self.end) };
        self.bytes.get(from..to).unwrap_or_default()
    }

    /// Forgets all but the first `keep` pending octets.
    pub fn truncate(&mut self, keep: usize) {
        self.end = self.end.min(self.start + keep);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }
}
