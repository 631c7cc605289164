//! Everything that is refused, and what is told of it, from `refused.txt`: what stands in a table, `=>`, all problems.

use super::{problems, with_job, with_repository, with_source};

const TABLE: &str = include_str!("refused.txt");

#[test]
fn what_is_wrong_is_told_with_its_place_and_what_is_right() {
    let mut wrong = String::new();
    let cases: Vec<&str> = TABLE.split("### ").filter(|case| !case.is_empty()).collect();
    for case in &cases {
        let (kind, case) = case.split_once('\n').expect("a kind of table");
        let (lines, expected) = case.split_once("\n=>\n").expect("=>");
        let text = match kind {
            "repository" => with_repository(lines),
            "job" => with_job(lines),
            "source" => with_source(lines),
            "whole" => format!("{lines}\n"),
            _ => panic!("{kind}"),
        };
        let told = problems(&text);
        if told.trim() != expected.trim() {
            wrong += &format!("### {kind}\n{lines}\n=>\n{told}\n");
        }
    }
    assert!(cases.len() > 50, "{} cases", cases.len());
    assert!(wrong.is_empty(), "\n{wrong}");
}
