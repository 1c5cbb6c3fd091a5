//! Putting back in order what several workers have finished in any order.

/// Takes numbered items in any order and gives them in the order of their numbers.
///
/// A ring: there is a fixed number of items in flight, so each has its slot.
pub(super) struct InOrder<T> {
    slots: Vec<Option<T>>,
    next: u64,
}

impl<T> InOrder<T> {
    /// For numbers from 0 on, of which at most `in_flight` are between [`InOrder::put`] and
    /// [`InOrder::next`] or still to come.
    pub(super) fn new(in_flight: usize) -> Self {
        Self {
            slots: (0..in_flight.max(1)).map(|_| None).collect(),
            next: 0,
        }
    }

    /// Takes an item.
    pub(super) fn put(&mut self, number: u64, item: T) {
        let slot = self.slot(number);
        debug_assert!(self.slots[slot].is_none(), "more items than are in flight");
        self.slots[slot] = Some(item);
    }

    /// The next item, if it has come.
    pub(super) fn next(&mut self) -> Option<T> {
        let slot = self.slot(self.next);
        let item = self.slots[slot].take()?;
        self.next += 1;
        Some(item)
    }

    fn slot(&self, number: u64) -> usize {
        // The remainder is below a `usize`.
        usize::try_from(number % self.slots.len() as u64).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::InOrder;

    #[test]
    fn items_leave_in_the_order_of_their_numbers() {
        let mut order = InOrder::new(3);
        let mut given = Vec::new();
        for number in [1, 2, 0, 3, 5, 4, 6] {
            order.put(number, number * 10);
            while let Some(item) = order.next() {
                given.push(item);
            }
        }
        assert_eq!(given, [0, 10, 20, 30, 40, 50, 60]);
    }
}
