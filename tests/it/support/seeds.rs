//! Many seeds in several tests that run beside each other, all of them, so that one failure does not hide another.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::need::is_full;

/// How many seeds a test looks at: in every run, and when larger sizes are wanted.
#[derive(Clone, Copy)]
pub struct Amount {
    pub usual: u64,
    pub full: u64,
}

/// Looks at the seeds of one test.
pub fn check_shard(shard: u64, amount: Amount, check: impl Fn(u64)) {
    let count = if is_full() { amount.full } else { amount.usual };
    let failed: Vec<u64> = (shard * amount.full..)
        .take(usize::try_from(count).expect("a few"))
        .filter(|seed| {
            let outcome = catch_unwind(AssertUnwindSafe(|| check(*seed)));
            if outcome.is_err() {
                println!("seed {seed} failed");
            }
            outcome.is_err()
        })
        .collect();
    println!("{count} seeds looked at, {} failed", failed.len());
    assert_eq!(failed, Vec::<u64>::new(), "seeds that failed");
}

/// Tests of these names, each with the shard of its number.
macro_rules! shards {
    ($amount:expr, $check:expr; $($name:ident $number:literal)*) => {
        $(#[test]
        fn $name() {
            $crate::support::seeds::check_shard($number, $amount, $check);
        })*
    };
}

pub(crate) use shards;
