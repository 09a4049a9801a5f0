//! What two aligned sides say of each other, item by item.

use super::*;

impl Aligned {
    /// Counts the pairs of the cells for which `cells` is true, for a metric.
    #[must_use]
    pub fn counts(&self, metric: usize, cells: &[bool]) -> Counts {
        let within = |list: &[u32]| list.iter().filter(|&&cell| cells[cell as usize]).count();
        let mut counts = Counts {
            only_new: within(&self.only_new),
            failed_new: within(&self.failed_only_new),
            ..Counts::default()
        };
        for index in (0..self.keys.len()).filter(|&index| cells[self.cells[index] as usize]) {
            let (base, new) = self.values(index, metric);
            let is_seen = self.seen[index];
            counts.common += usize::from(is_seen);
            counts.only_base += usize::from(!is_seen);
            counts.failed_base += usize::from(base.is_nan());
            counts.failed_new += usize::from(is_seen && new.is_nan());
        }
        counts
    }

    fn values(&self, index: usize, metric: usize) -> (f64, f64) {
        let at = index * self.metrics + metric;
        (self.base_values[at], self.new_values[at])
    }

    /// Indices of the pairs that have a score of `metric` on both sides.
    fn scored(&self, metric: usize, cells: &[bool]) -> impl Iterator<Item = u32> {
        (0..self.keys.len() as u32).filter(move |&index| {
            let index = index as usize;
            let (base, new) = self.values(index, metric);
            cells[self.cells[index] as usize] && !base.is_nan() && !new.is_nan()
        })
    }

    /// The units of a metric and of the cells for which `cells` is true.
    #[must_use]
    pub fn units(&self, metric: usize, cells: &[bool], promise: Promise) -> Units {
        let mut order: Vec<u32> = self.scored(metric, cells).collect();
        let place = |&index: &u32| (self.units[index as usize], self.keys[index as usize]);
        order.par_sort_unstable_by_key(place);
        let mut units = Units { pairs: order.len(), ..Units::default() };
        let mut sizes = [usize::MAX, 0];
        for unit in order.chunk_by(|&a, &b| self.units[a as usize] == self.units[b as usize]) {
            let mut sums = [Sum::default(); 3];
            for &index in unit {
                let (base, new) = self.values(index as usize, metric);
                let difference = difference(base, new, promise);
                units.within_tolerance += usize::from(difference == 0.0 && base != new);
                for (sum, value) in sums.iter_mut().zip([base, new, difference]) {
                    sum.add(value);
                }
            }
            sizes = [sizes[0].min(unit.len()), sizes[1].max(unit.len())];
            let [base, new, difference] = sums.map(|sum| sum.value() / unit.len() as f64);
            let difference = match unit.len() {
                1 => difference,
                _ => settle(difference, base.abs().max(new.abs())),
            };
            units.sample.push(base, new, difference);
        }
        units.weights_matter = sizes[0] < sizes[1];
        units
    }

    /// The `top` pairs whose score changed most, the largest change first.
    #[must_use]
    pub fn movers(
        &self,
        metric: usize,
        cells: &[bool],
        promise: Promise,
        top: usize,
    ) -> Vec<Mover> {
        let mut movers: Vec<Mover> = Vec::new();
        let rank = |a: &Mover, b: &Mover| {
            let [size_a, size_b] = [a, b].map(|mover| mover.difference.abs());
            size_b.total_cmp(&size_a).then(a.key.cmp(&b.key))
        };
        for index in self.scored(metric, cells) {
            let (base, new) = self.values(index as usize, metric);
            let difference = difference(base, new, promise);
            if base == new || difference == 0.0 {
                continue;
            }
            movers.push(Mover { key: self.keys[index as usize], base, new, difference });
            if movers.len() > 2 * top + 64 {
                movers.sort_unstable_by(rank);
                movers.truncate(top);
            }
        }
        movers.sort_unstable_by(rank);
        movers.truncate(top);
        movers
    }
}

/// new - base as decimals; 0 if the promise allows the difference.
fn difference(base: f64, new: f64, promise: Promise) -> f64 {
    let difference = settle(new - base, base.abs().max(new.abs()));
    if difference.abs() <= promise.tolerance(base, new) { 0.0 } else { difference }
}
