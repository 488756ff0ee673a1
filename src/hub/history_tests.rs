//! A history tells all that was missed or that it cannot, and a shelf never passes its budget: by example, and
//! against a naive model under random publications, removals, expiries and changes of rules.

use highper_shards::driver::sim::Random;

use super::*;

const FOR_EVER: Duration = Duration::from_secs(1 << 30);
const NOW: Moment = Moment::from_nanos(1_000);

impl Histories for Vec<History> {
    fn history(&mut self, index: u32) -> Option<&mut History> {
        self.get_mut(index as usize)
    }
}

/// One channel at index 0, and the shelf.
struct One {
    channels: Vec<History>,
    shelf: Shelf,
    rules: Rules,
}

impl One {
    fn new(size: u32) -> Self {
        let rules = Rules { size, ttl: FOR_EVER };
        Self { channels: vec![History::default()], shelf: Shelf::new(1 << 20), rules }
    }

    fn push(&mut self, offset: u64) {
        self.shelf.push(&mut self.channels, 0, (offset, payload(10)), self.rules, NOW);
    }

    fn history(&self) -> &History {
        &self.channels[0]
    }
}

fn payload(len: usize) -> Publication {
    Publication::new(None, vec![b'1'; len])
}

fn offsets(page: Page<'_>) -> Vec<u64> {
    let expected = page.len();
    let offsets: Vec<u64> = page.map(|(offset, _)| offset).collect();
    assert_eq!(offsets.len(), expected);
    offsets
}

fn missed(since: Since<'_>) -> Option<Vec<u64>> {
    match since {
        Since::Complete(page) => Some(offsets(page)),
        Since::Incomplete => None,
    }
}

#[test]
fn what_was_missed_is_told_whole_or_not_at_all() {
    let mut one = One::new(3);
    (1..=5).for_each(|offset| one.push(offset));
    let since = |offset, last, limit| missed(one.history().since(offset, last, limit));
    assert_eq!(since(5, 5, 0), Some(vec![]), "up to date needs no history");
    assert_eq!(since(2, 5, 3), Some(vec![3, 4, 5]));
    assert_eq!(since(2, 5, 2), None, "half of it would be a hole");
    assert_eq!(since(1, 5, 9), None, "2 is gone");
    assert_eq!(since(6, 5, 9), None, "from another life of the channel");
    assert_eq!(since(4, 6, 9), None, "6 was published and not kept");
    assert_eq!(since(0, u64::MAX, usize::MAX), None);
}

#[test]
fn pages_go_both_ways_and_their_start_is_exclusive() {
    let mut one = One::new(10);
    (1..=5).for_each(|offset| one.push(offset));
    let page = |since, limit, reverse| offsets(one.history().page(since, limit, reverse));
    assert_eq!(page(None, 2, false), [1, 2]);
    assert_eq!(page(Some(2), 2, false), [3, 4]);
    assert_eq!(page(Some(5), 2, false), [0; 0]);
    assert_eq!(page(Some(u64::MAX), usize::MAX, false), [0; 0]);
    assert_eq!(page(None, 2, true), [5, 4]);
    assert_eq!(page(Some(4), 9, true), [3, 2, 1]);
    assert_eq!(page(Some(1), 9, true), [0; 0]);
    assert_eq!(page(Some(u64::MAX), 1, true), [5]);
}

#[test]
fn a_cleared_history_recovers_nobody_until_it_goes_on() {
    let mut one = One::new(10);
    (1..=5).for_each(|offset| one.push(offset));
    one.channels[0].clear(&mut one.shelf, 0);
    assert_eq!((one.shelf.bytes(), one.history().newest()), (0, 5));
    assert_eq!(missed(one.history().since(4, 5, 9)), None);
    assert_eq!(missed(one.history().since(5, 5, 9)), Some(vec![]));
    one.push(6);
    assert_eq!(missed(one.history().since(5, 6, 9)), Some(vec![6]));
}

#[test]
fn a_hole_in_the_numbers_drops_what_lies_before_it() {
    let mut one = One::new(10);
    one.push(1);
    one.push(3);
    assert_eq!(offsets(one.history().page(None, 9, false)), [3]);
    assert_eq!(missed(one.history().since(1, 3, 9)), None);
}

#[test]
fn age_ends_at_the_ttl_and_not_before() {
    let mut one = One::new(10);
    one.rules.ttl = Duration::from_nanos(100);
    one.push(1);
    let expire = |one: &mut One, after| {
        let now = NOW + Duration::from_nanos(after);
        one.channels[0].expire(&mut one.shelf, 0, one.rules, now);
        one.history().len()
    };
    assert_eq!(expire(&mut one, 99), 1);
    assert_eq!(expire(&mut one, 100), 0);
    assert_eq!((one.shelf.expired, one.shelf.bytes()), (1, 0));
}

#[test]
fn rules_that_keep_nothing_keep_nothing() {
    for rules in [Rules { size: 0, ttl: FOR_EVER }, Rules { size: 9, ttl: Duration::ZERO }] {
        let mut one = One::new(10);
        one.push(1);
        one.rules = rules;
        one.push(2);
        assert!(one.history().is_empty());
        assert_eq!((one.shelf.bytes(), one.shelf.shed), (0, 0));
    }
}

#[test]
fn the_budget_holds_exactly_what_fits() {
    let rules = Rules { size: 10, ttl: FOR_EVER };
    let both = 2 * (ENTRY_BYTES + 10);
    for (budget, lost) in [(both, &[][..]), (both - 1, &[0][..])] {
        let mut channels = vec![History::default(), History::default()];
        let mut shelf = Shelf::new(budget);
        assert_eq!(shelf.push(&mut channels, 0, (1, payload(10)), rules, NOW), [0; 0]);
        assert_eq!(shelf.push(&mut channels, 1, (1, payload(10)), rules, NOW), lost);
        assert_eq!(shelf.shed, lost.len() as u64);
        assert_eq!(channels[1].len(), 1);
    }
}

#[test]
fn a_publication_larger_than_the_budget_costs_only_its_own_channel() {
    let rules = Rules { size: 10, ttl: FOR_EVER };
    let mut channels = vec![History::default(), History::default()];
    let mut shelf = Shelf::new(4 * ENTRY_BYTES);
    shelf.push(&mut channels, 0, (1, payload(1)), rules, NOW);
    shelf.push(&mut channels, 1, (1, payload(1)), rules, NOW);
    assert_eq!(shelf.push(&mut channels, 1, (2, payload(3 * ENTRY_BYTES + 1)), rules, NOW), [1]);
    assert_eq!((channels[0].len(), channels[1].len(), shelf.shed), (1, 0, 2));
    assert_eq!(missed(channels[1].since(1, 2, 9)), None);
}

/// What a history must do, without any cleverness.
#[derive(Clone, Default)]
struct Naive {
    kept: Vec<(u64, Moment, usize)>,
    offset: u64,
}

struct Model {
    channels: Vec<Naive>,
    budget: usize,
    shed: u64,
    expired: u64,
}

impl Model {
    fn bytes(&self) -> usize {
        self.channels.iter().flat_map(|one| &one.kept).map(|kept| kept.2 + ENTRY_BYTES).sum()
    }

    fn expire(&mut self, at: usize, rules: Rules, now: Moment) {
        let kept = &mut self.channels[at].kept;
        if rules.size == 0 || rules.ttl.is_zero() {
            return kept.clear();
        }
        let before = kept.len();
        kept.retain(|(_, at, _)| now.since(*at) < rules.ttl);
        self.expired += (before - kept.len()) as u64;
        kept.drain(..kept.len().saturating_sub(rules.size as usize));
    }

    /// The channels that lost something to the budget.
    fn push(&mut self, to: usize, len: usize, rules: Rules, now: Moment) -> Vec<u32> {
        self.channels[to].offset += 1;
        self.expire(to, rules, now);
        let kept = &mut self.channels[to].kept;
        if len + ENTRY_BYTES > self.budget {
            kept.drain(..(kept.len() + 1).saturating_sub(rules.size.max(1) as usize));
            self.shed += kept.len() as u64 + 1;
            kept.clear();
            return vec![to as u32];
        }
        if rules.size == 0 || rules.ttl.is_zero() {
            return vec![];
        }
        kept.drain(..(kept.len() + 1).saturating_sub(rules.size as usize));
        let mut lost = Vec::new();
        while self.bytes() + len + ENTRY_BYTES > self.budget {
            let holders = (0..self.channels.len()).filter(|at| !self.channels[*at].kept.is_empty());
            let oldest = holders.min_by_key(|at| (self.channels[*at].kept[0].1, *at)).unwrap();
            self.channels[oldest].kept.remove(0);
            lost.push(oldest as u32);
        }
        self.shed += lost.len() as u64;
        let offset = self.channels[to].offset;
        self.channels[to].kept.push((offset, now, len));
        lost.sort_unstable();
        lost.dedup();
        lost
    }
}

fn compare(history: &History, naive: &Naive, random: &mut Random) {
    let held: Vec<u64> = naive.kept.iter().map(|kept| kept.0).collect();
    assert_eq!(offsets(history.page(None, usize::MAX, false)), held);
    let lens: Vec<usize> = history.page(None, usize::MAX, false).map(|(_, one)| one.data.len()).collect();
    assert_eq!(lens, naive.kept.iter().map(|kept| kept.2).collect::<Vec<_>>());

    let (since, limit) = (random.within(0, naive.offset + 2), random.below(12) as usize);
    let wanted: Vec<u64> = (since + 1..=naive.offset).collect();
    let all = wanted.iter().all(|offset| held.contains(offset));
    let answer = (since <= naive.offset && all && wanted.len() <= limit).then_some(wanted);
    assert_eq!(missed(history.since(since, naive.offset, limit)), answer);

    let after: Vec<u64> = held.iter().copied().filter(|offset| *offset > since).take(limit).collect();
    assert_eq!(offsets(history.page(Some(since), limit, false)), after);
    let before: Vec<u64> = held.iter().rev().copied().filter(|offset| *offset < since).take(limit).collect();
    assert_eq!(offsets(history.page(Some(since), limit, true)), before);
}

#[test]
fn random_lives_of_histories_agree_with_a_model() {
    let (mut shed, mut expired) = (0, 0);
    for seed in 0..40 {
        let mut random = Random::new(seed);
        let budget = random.within(ENTRY_BYTES as u64, 100 * ENTRY_BYTES as u64) as usize;
        let mut channels: Vec<History> = (0..6).map(|_| History::default()).collect();
        let mut shelf = Shelf::new(budget);
        let mut model = Model { channels: vec![Naive::default(); 6], budget, shed: 0, expired: 0 };
        let mut rules = [Rules { size: 8, ttl: Duration::from_nanos(500) }; 6];
        let mut now = NOW;
        for step in 0..2_000 {
            let at = random.below(6) as usize;
            now = now + Duration::from_nanos(random.below(50));
            match random.below(20) {
                0 => {
                    rules[at] = Rules {
                        size: random.below(20) as u32,
                        ttl: Duration::from_nanos(random.below(4) * 300),
                    };
                }
                1 => {
                    channels[at].clear(&mut shelf, at as u32);
                    model.channels[at].kept.clear();
                }
                2 => {
                    channels[at].clear(&mut shelf, at as u32);
                    channels[at] = History::default();
                    model.channels[at] = Naive::default();
                }
                3..6 => {
                    channels[at].expire(&mut shelf, at as u32, rules[at], now);
                    model.expire(at, rules[at], now);
                }
                _ => {
                    let len_max = if random.below(50) == 0 { 8_000 } else { 200 };
                    let len = random.below(len_max) as usize;
                    let lost = model.push(at, len, rules[at], now);
                    let entry = (model.channels[at].offset, payload(len));
                    let told = shelf.push(&mut channels, at as u32, entry, rules[at], now);
                    assert_eq!(told, lost, "seed {seed}, step {step}");
                }
            }
            assert_eq!(shelf.bytes(), model.bytes(), "seed {seed}, step {step}");
            assert!(shelf.bytes() <= budget);
            assert_eq!((shelf.shed, shelf.expired), (model.shed, model.expired), "seed {seed}, step {step}");
            compare(&channels[at], &model.channels[at], &mut random);
            let listed = channels.iter().filter(|history| !history.is_empty()).count();
            assert_eq!(shelf.order.len(), listed, "seed {seed}, step {step}");
        }
        shed += model.shed;
        expired += model.expired;
    }
    assert!(shed > 5_000 && expired > 5_000, "{shed} shed, {expired} expired: nothing was tried");
}
