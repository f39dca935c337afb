//! Items that cannot be read are refused one by one; the results of the others find their places again.

use crate::refusal::Refusal;

/// For each item, why it is not worked on.
#[derive(Debug)]
pub(super) struct Places(Vec<Option<Refusal>>);

impl Places {
    /// Reads items. What could be read stands in the items' order.
    pub(super) fn read<I, T>(
        items: impl ExactSizeIterator<Item = I>,
        mut read: impl FnMut(I) -> Result<T, Refusal>,
    ) -> (Vec<T>, Self) {
        let mut found = Vec::with_capacity(items.len());
        let places = items.map(|item| match read(item) {
            Ok(one) => {
                found.push(one);
                None
            }
            Err(refusal) => Some(refusal),
        });
        let places = places.collect();
        (found, Self(places))
    }

    /// A result for each item, from the results of those that were read.
    pub(super) fn fill<T>(
        self,
        results: Vec<Result<T, Refusal>>,
    ) -> impl ExactSizeIterator<Item = Result<T, Refusal>> {
        let mut results = results.into_iter();
        self.0.into_iter().map(move |refused| match refused {
            Some(refusal) => Err(refusal),
            None => results
                .next()
                .unwrap_or(Err(Refusal::Internal("an item has no result"))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_result_stands_where_its_item_stood() {
        let read = |item: i32| {
            if item < 0 {
                Err(Refusal::DeadlineExceeded)
            } else {
                Ok(item)
            }
        };
        let (found, places) = Places::read([1, -1, 2, 3, -1].into_iter(), read);
        assert_eq!(found, [1, 2, 3]);
        let late = || Err(Refusal::DeadlineExceeded);
        let results = vec![Ok("one"), Err(Refusal::TooLarge("two"))];
        let filled: Vec<_> = places.fill(results).collect();
        let lost = Err(Refusal::Internal("an item has no result"));
        let two = Err(Refusal::TooLarge("two"));
        assert_eq!(filled, [Ok("one"), late(), two, lost, late()]);
    }
}
