//! x
use super::judge::Flaw;
use super::sets::{BOTH, ONE, TWO, Set};
use super::setup::{CORE, Mistake, PersonEnds, SMALL, Setup, TakingOver, Task};
use super::table::{Expected, check};
const MERGED: Setup = Setup { name: "merged", first_needs: ONE, writers: &[Task::Backup(BOTH), Task::Compact], cached_tables: true, loses_runs: true, ..SMALL };
const LATE: Setup = Setup { name: "late", cleans: true, gives_up: true, late_puts: true, deletes_again: true, ..SMALL };
const LOST: Setup = Setup { name: "lost chunks", writers: &[Task::Backup(BOTH), Task::Backup(TWO)], damage: true, repairs: true, taking_over: TakingOver::IfKept, ..SMALL };
#[test] fn a() { check(&[(Setup{name:"merged late", late_puts:true, deletes_again:true, cleans: true, ..MERGED}, Expected::Holds)]); }
#[test] fn b() { check(&[(Setup{name:"merged partial", partial_listings: true, ..MERGED}, Expected::Holds)]); }
#[test] fn c() { check(&[(Setup{name:"merged twice", writers: &[Task::Backup(BOTH), Task::Compact, Task::Compact], collections: 1, loses_runs: false, ..MERGED}, Expected::Holds)]); }
#[test] fn d() { check(&[(Setup{name:"merged 2 pruners", pruners: 2, collections: 1, ..MERGED}, Expected::Holds)]); }
#[test] fn e() { check(&[(Setup{name:"lost partial", partial_listings: true, ..LOST}, Expected::Holds)]); }
#[test] fn f() { check(&[(Setup{name:"repack late", writers: &[Task::Backup(BOTH), Task::Repack], first_packs: [BOTH, Set::EMPTY], first_needs: ONE, ..LATE}, Expected::Holds)]); }
#[test] fn g() { check(&[(Setup{name:"taking over late, person", taking_over: TakingOver::IfKept, person_ends: PersonEnds::Anything, ..LATE}, Expected::Holds)]); }
#[test] fn h() { check(&[(Setup{name:"lost 2 pruners", pruners: 2, collections: 1, ..LOST}, Expected::Holds)]); }
#[test] fn i() { check(&[(Setup{name:"kept 2 pruners", pruners: 2, taking_over: TakingOver::IfKept, ..CORE}, Expected::Holds)]); let _ = (Flaw::Loss, Mistake::OwnVerdict); }
#[test] fn j() { check(&[(Setup{name:"kept 2 merge", taking_over: TakingOver::IfKept, writers: &[Task::Backup(BOTH), Task::Backup(ONE), Task::Compact], collections: 1, ..SMALL}, Expected::Holds)]); }
