//! What happens between processes: signals, closed pipes, programs that run at the same time.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::transcript::Place;

fn place_with_backup() -> Place {
    let place = Place::new();
    std::fs::create_dir_all(place.path().join("home")).expect("a home");
    std::fs::create_dir(place.path().join("source")).expect("a directory");
    let text = "one line like the other\n".repeat(100_000);
    std::fs::write(place.path().join("source/text"), text).expect("a file");
    let output = place.shell("packstone -q backup source").output().expect("a shell");
    assert!(output.status.success(), "{output:?}");
    place
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).expect("a running process");
}

/// Waits for a line of the standard error that holds a word; gives the line and the rest of the stream.
fn wait_for(child: &mut Child, word: &str) -> (String, impl Read + use<>) {
    let mut errors = BufReader::new(child.stderr.take().expect("a pipe"));
    let mut line = String::new();
    while !line.contains(word) {
        line.clear();
        assert!(errors.read_line(&mut line).expect("a line") > 0, "no line with {word}");
    }
    (line, errors)
}

fn rest_of(mut errors: impl Read) -> String {
    let mut rest = String::new();
    errors.read_to_string(&mut rest).expect("text");
    rest
}

fn snapshots(place: &Place) -> Output {
    place.shell("packstone snapshots | tail -n 1").output().expect("a shell")
}

#[test]
fn output_that_nobody_reads_ends_the_program_without_a_word() {
    let place = place_with_backup();
    let wanted = format!("latest:{}/source/text", place.path().display());
    for arguments in [vec!["cat", wanted.as_str()], vec!["ls", "latest"], vec!["snapshots"]] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = place.command("packstone");
        let child =
            command.args(&arguments).stdout(writer).stderr(Stdio::piped()).spawn().expect("the program");
        // The command holds the pipe too.
        drop(command);
        let output = child.wait_with_output().expect("an end");
        assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(141), ""), "{arguments:?}");
    }
}

#[test]
fn a_key_that_nobody_reads_has_no_slot() {
    let place = place_with_backup();
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = place.command("packstone");
    command.args(["repo", "key", "export"]).stdout(writer).stderr(Stdio::piped());
    let child = command.spawn().expect("the program");
    drop(command);
    let output = child.wait_with_output().expect("an end");
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(141), "{said}");
    assert!(said.starts_with("key slot ") && said.contains(" was removed again"), "{said}");
    let listed = place.shell("packstone repo key list | tail -n 1").output().expect("a shell");
    assert_eq!(text(&listed.stdout), "1 key slot\n");
}

#[test]
fn an_interruption_ends_a_silent_command_and_makes_no_snapshot() {
    for sent in [Signal::INT, Signal::TERM, Signal::HUP] {
        let place = place_with_backup();
        let script = "packstone backup --stdin-from-command -- sh -c 'echo I am $$ >&2; sleep 1000'";
        let mut shell = place.shell(&format!("exec {script}"));
        let mut child = shell.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("a shell");
        let (line, errors) = wait_for(&mut child, "I am ");
        signal(&child, sent);
        let said = rest_of(errors);
        assert_eq!(child.wait().expect("an end").code(), Some(130), "{said}");
        assert!(said.starts_with("error: interrupted"), "{said}");
        let command = line.trim().strip_prefix("I am ").and_then(|number| number.parse().ok());
        let command = Pid::from_raw(command.expect("a number")).expect("a process id");
        assert!(test_kill_process(command).is_err(), "the command is gone");
        assert_eq!(text(&snapshots(&place).stdout), "1 snapshot\n");
    }
}

#[test]
fn an_interruption_ends_the_wait_for_input() {
    let place = place_with_backup();
    let mut command = place.command("packstone");
    command.args(["-v", "backup", "--stdin"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.stdout(Stdio::null()).spawn().expect("the program");
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(b"half a dump").expect("a reader");
    let (_, errors) = wait_for(&mut child, "/stdin");
    signal(&child, Signal::TERM);
    let said = rest_of(errors);
    assert_eq!(child.wait().expect("an end").code(), Some(130), "{said}");
    assert!(said.starts_with("error: ") && said.contains("interrupted"), "{said}");
    assert_eq!(text(&snapshots(&place).stdout), "1 snapshot\n");
}

#[test]
fn a_program_that_ignores_hangups_goes_on() {
    let place = place_with_backup();
    let script = "trap '' HUP; exec packstone -v backup --stdin";
    let mut shell = place.shell(script);
    shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = shell.spawn().expect("a shell");
    let input = child.stdin.take().expect("a pipe");
    let (_, errors) = wait_for(&mut child, "/stdin");
    signal(&child, Signal::HUP);
    drop(input);
    assert_eq!(rest_of(errors), "");
    assert_eq!(child.wait().expect("an end").code(), Some(0));
    assert_eq!(text(&snapshots(&place).stdout), "2 snapshots\n");
}

#[test]
fn first_backups_at_the_same_time_share_one_repository() {
    let place = Place::new();
    std::fs::create_dir_all(place.path().join("source")).expect("a directory");
    std::fs::write(place.path().join("source/file"), "content").expect("a file");
    let children: Vec<Child> = (0..6)
        .map(|_| {
            let mut command = place.command("packstone");
            command.args(["backup", "source"]).stdout(Stdio::null()).stderr(Stdio::piped());
            command.spawn().expect("the program")
        })
        .collect();
    let mut announced = 0;
    for child in children {
        let output = child.wait_with_output().expect("an end");
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{said}");
        announced += usize::from(said.contains("one was made"));
    }
    assert_eq!(announced, 1);
    assert_eq!(text(&snapshots(&place).stdout), "6 snapshots\n");
}

#[test]
fn the_password_does_not_reach_commands() {
    let place = Place::new();
    let script = "
        mkdir source && export PACKSTONE_REPOSITORY=repository PACKSTONE_PASSWORD=secret
        packstone -q repo init &&
        packstone -q backup --stdin-from-command -- sh -c 'echo ${PACKSTONE_PASSWORD-none}' &&
        packstone cat latest:/stdin &&
        PACKSTONE_PASSWORD=wrong packstone snapshots -q --password-command 'echo ${PACKSTONE_PASSWORD-secret}'";
    let output = place.shell(script).output().expect("a shell");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(text(&output.stdout).starts_with("none\n"), "{output:?}");
}

#[test]
fn progress_is_told_to_logs_and_to_programs_as_often_as_asked() {
    let place = place_with_backup();
    let start = |arguments: &[&str]| {
        let mut command = place.command("packstone");
        command.args(arguments).args(["--progress-interval", "1ms", "backup", "--stdin"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program");
        let mut input = child.stdin.take().expect("a pipe");
        input.write_all(b"half a dump").expect("a reader");
        (child, input)
    };
    let (mut child, input) = start(&[]);
    // However slow a stream is: what was read is told before a batch is full.
    let (line, errors) = wait_for(&mut child, "11 B  /stdin");
    assert!(line.starts_with("0:0") && line.contains("  0 files  11 B  /stdin"), "{line}");
    drop(input);
    rest_of(errors);
    assert_eq!(child.wait().expect("an end").code(), Some(0));
    let (mut child, input) = start(&["--json"]);
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let status = lines.find(|line| line.as_ref().is_ok_and(|line| line.contains("\"bytes_done\":11")));
    assert!(
        status
            .expect("a line")
            .expect("text")
            .starts_with("{\"message_type\":\"status\",\"seconds_elapsed\":")
    );
    drop(input);
    let last = lines.last().expect("a line").expect("text");
    assert!(last.starts_with("{\"message_type\":\"summary\""), "{last}");
    assert_eq!(child.wait().expect("an end").code(), Some(0));
}

#[test]
fn an_interruption_is_told_to_programs() {
    let place = place_with_backup();
    let mut command = place.command("packstone");
    command.args(["--json", "--progress-interval", "1ms", "backup", "--stdin"]).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program");
    let input = child.stdin.take();
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    assert!(lines.next().expect("a line").expect("text").contains("status"));
    signal(&child, Signal::TERM);
    let output = child.wait_with_output().expect("an end");
    drop(input);
    assert_eq!(output.status.code(), Some(130));
    let said = text(&output.stderr);
    assert!(said.starts_with("{\"message_type\":\"exit_error\",\"code\":130,\"message\":\""), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}
