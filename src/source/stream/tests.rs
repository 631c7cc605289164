//! Commands that behave, and commands that do not.

use std::sync::mpsc;

use rustix::process::{kill_process, test_kill_process};

use super::*;

fn shell(script: &str) -> CommandStream {
    CommandStream::spawn(OsStr::new("sh"), &["-c".into(), script.into()], &[]).expect("a shell")
}

fn read_all(stream: &mut CommandStream) -> Vec<u8> {
    let mut output = Vec::new();
    stream.read_to_end(&mut output).expect("output");
    output
}

fn failure(script: &str) -> String {
    let mut stream = shell(script);
    read_all(&mut stream);
    let error = stream.finish().expect_err("must fail");
    assert_eq!(error.kind(), ErrorKind::Failed);
    error.to_string()
}

fn first_line(stream: &mut CommandStream) -> String {
    let mut line = String::new();
    let mut byte = [0];
    while stream.read(&mut byte).expect("output") > 0 && byte != [b'\n'] {
        line.push(byte[0].into());
    }
    line
}

fn process(number: &str) -> Pid {
    Pid::from_raw(number.parse().expect("a number")).expect("a process id")
}

#[test]
fn the_output_of_a_command_is_read_whole() {
    let mut stream = shell("printf 'a\\nb'");
    assert_eq!(stream.read(&mut []).expect("nothing asked"), 0, "which is not the end");
    assert_eq!(read_all(&mut stream), b"a\nb");
    assert_eq!(stream.read(&mut [0; 8]).expect("still the end"), 0);
    stream.finish().expect("success");

    let mut stream = shell("head -c 5000000 /dev/zero; cat; printf end");
    let output = read_all(&mut stream);
    assert_eq!(output.len(), 5_000_003, "and there was no input to wait for");
    assert!(output.ends_with(b"\0end"));
    stream.finish().expect("success");
}

#[test]
fn a_hidden_variable_does_not_reach_the_program() {
    let script = ["-c".into(), "printf %s \"${PATH-gone}\"".into()];
    for (hidden, is_gone) in [(&["PATH"][..], true), (&[], false)] {
        let mut stream = CommandStream::spawn(OsStr::new("/bin/sh"), &script, hidden).expect("a shell");
        // A shell that misses PATH may set one of its own.
        let own = std::env::vars().find(|(name, _)| name == "PATH").map(|(_, value)| value).expect("a path");
        assert_eq!(read_all(&mut stream) != own.as_bytes(), is_gone);
        stream.finish().expect("success");
    }
}

#[test]
fn arguments_reach_the_program_as_they_are() {
    let odd = std::os::unix::ffi::OsStringExt::from_vec(b"$HOME \xff*".to_vec());
    let mut stream =
        CommandStream::spawn(OsStr::new("printf"), &["%s|".into(), odd, "b".into()], &[]).expect("a program");
    assert_eq!(read_all(&mut stream), b"$HOME \xff*|b|");
    stream.finish().expect("success");
}

#[test]
fn anything_but_success_is_an_error_without_the_arguments() {
    assert_eq!(failure("echo secret; exit 3"), "sh exited with status 3");
    assert_eq!(failure("kill -9 $$"), "sh was ended by signal 9");
    let absent = CommandStream::spawn(OsStr::new("/no/such/program"), &["secret".into()], &[])
        .expect_err("no program");
    assert_eq!(absent.kind(), ErrorKind::NotFound);
    assert_eq!(absent.to_string(), "cannot start /no/such/program");
    assert!(!format!("{absent:?}").contains("secret"));
    let denied = CommandStream::spawn(OsStr::new("/etc/passwd"), &[], &[]).expect_err("not a program");
    assert_eq!(denied.kind(), ErrorKind::Denied);
}

#[test]
fn output_that_was_not_read_to_its_end_is_no_success() {
    let mut stream = shell("trap '' PIPE; head -c 1000000 /dev/zero; exit 0");
    stream.read_exact(&mut [0; 100]).expect("a part");
    let error = stream.finish().expect_err("must fail");
    assert_eq!(
        (error.kind(), error.to_string()),
        (ErrorKind::Failed, "the output of sh was not read to its end".into())
    );
    shell("exit 0").finish().expect("no output is read to its end by itself");
}

#[test]
fn a_command_that_closes_its_output_is_waited_for() {
    let mut stream = shell("exec >/dev/null; head -c 10000000 /dev/zero | cat >/dev/null; exit 5");
    assert_eq!(read_all(&mut stream), b"");
    assert_eq!(stream.finish().expect_err("the status counts").to_string(), "sh exited with status 5");
}

#[test]
fn a_dropped_stream_ends_its_command() {
    let mut stream = shell("echo $$; exec sleep 100");
    let command = process(&first_line(&mut stream));
    test_kill_process(command).expect("it runs");
    drop(stream);
    assert_eq!(test_kill_process(command), Err(rustix::io::Errno::SRCH), "it is gone and was waited for");
}

#[test]
fn a_command_is_stopped_from_another_thread_with_all_that_it_started() {
    // The second process holds the output open: it ends only if that one is killed too.
    let mut stream = shell("sleep 100 & echo ready; wait");
    assert_eq!(first_line(&mut stream), "ready");
    let stopper = stream.stopper();
    std::thread::scope(|scope| {
        scope.spawn(|| stopper.stop());
        assert_eq!(read_all(&mut stream), b"");
    });
    assert_eq!(stream.finish().expect_err("stopped").to_string(), "sh was stopped");
    stopper.stop();
    assert_eq!(stopper.kill(), None, "what is gone is not killed again");
}

/// A shell that starts something outside of its group, which holds its output open; and the number of that.
fn with_leftover(script: &str) -> (CommandStream, Pid) {
    let mut stream = shell(&format!("setsid sleep 1000 & echo $!; {script}"));
    let left = process(&first_line(&mut stream));
    (stream, left)
}

#[test]
fn a_command_is_stopped_even_if_its_output_is_held_by_what_is_not() {
    for script in ["wait", "exit 0"] {
        let (mut stream, left) = with_leftover(script);
        let stopper = stream.stopper();
        std::thread::scope(|scope| {
            scope.spawn(|| stopper.stop());
            assert_eq!(read_all(&mut stream), b"");
        });
        assert_eq!(stream.finish().expect_err("stopped").to_string(), "sh was stopped");
        kill_process(left, Signal::KILL).expect("it still runs");
    }
}

#[test]
fn output_that_is_held_by_what_a_command_left_behind_is_no_success() {
    let (mut stream, left) = with_leftover("echo more");
    stream.patience = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
    let mut output = Vec::new();
    let error = stream.read_to_end(&mut output).expect_err("it has no end");
    assert_eq!(output, b"more\n");
    assert_eq!(error.to_string(), "sh has ended, but what it started still holds its output open");
    kill_process(left, Signal::KILL).expect("it still runs");
}

#[test]
fn what_writes_on_after_the_command_has_ended_is_read() {
    let mut stream =
        shell("main=$$; (until grep -q 'State:.*Z' /proc/$main/status; do :; done; echo late) & exit 0");
    assert_eq!(read_all(&mut stream), b"late\n");
    stream.finish().expect("success");
}

#[test]
fn commands_end_together() {
    let stops = Arc::new(Stops::default());
    let mut streams = [shell("echo ready; sleep 1000"), shell("echo ready; sleep 1000")];
    for stream in &mut streams {
        assert_eq!(first_line(stream), "ready");
    }
    let streams = streams.map(|stream| stream.ended_by(&stops));
    stops.stop_all();
    let late = shell("sleep 1000").ended_by(&stops);
    for mut stream in streams.into_iter().chain([late]) {
        assert_eq!(read_all(&mut stream), b"");
        assert_eq!(stream.finish().expect_err("stopped").to_string(), "sh was stopped");
    }
}

#[test]
fn messages_come_line_by_line() {
    let (sender, receiver) = mpsc::channel();
    let script =
        "echo one >&2; echo out; printf 'two\\n\\nthree' >&2; head -c 5000 /dev/zero | tr '\\0' x >&2";
    let mut stream =
        CommandStream::spawn_listening(OsStr::new("sh"), &["-c".into(), script.into()], &[], move |line| {
            sender.send(String::from_utf8_lossy(line).into_owned()).expect("a listener");
        })
        .expect("a shell");
    assert_eq!(read_all(&mut stream), b"out\n");
    stream.finish().expect("success");
    let lines: Vec<String> = receiver.iter().collect();
    assert_eq!(lines[..2], ["one", "two"]);
    assert_eq!(lines[2], format!("three{}", "x".repeat(LINE_BYTES_MAX - 5)));
    assert_eq!(lines[3..], ["x".repeat(5005 - LINE_BYTES_MAX)]);
}

#[test]
fn what_a_command_leaves_behind_is_not_waited_for() {
    let (sender, receiver) = mpsc::channel();
    // It keeps the pipe of the messages open.
    let script = "sleep 100 >/dev/null & echo $!; echo last >&2";
    let mut stream =
        CommandStream::spawn_listening(OsStr::new("sh"), &["-c".into(), script.into()], &[], move |line| {
            sender.send(line.to_vec()).expect("a listener");
        })
        .expect("a shell");
    let left = process(String::from_utf8_lossy(&read_all(&mut stream)).trim());
    stream.finish().expect("success");
    kill_process(left, Signal::KILL).expect("it still runs");
    assert_eq!(receiver.iter().collect::<Vec<_>>(), [b"last".to_vec()]);
}

#[test]
fn a_program_that_cannot_start_ends_its_listener() {
    let (sender, receiver) = mpsc::channel::<Vec<u8>>();
    let started = CommandStream::spawn_listening(OsStr::new("/no/such/program"), &[], &[], move |line| {
        sender.send(line.to_vec()).expect("a listener");
    });
    assert_eq!(started.expect_err("no program").kind(), ErrorKind::NotFound);
    assert_eq!(receiver.iter().count(), 0);
}

#[test]
fn lines_are_cut_wherever_they_are_split() {
    let long = [vec![b'l'; LINE_BYTES_MAX], b"\nafter\n".to_vec()].concat();
    for (text, wanted) in [
        (b"\n\na\n\nbc\n".to_vec(), vec![b"a".to_vec(), b"bc".to_vec()]),
        (long, vec![vec![b'l'; LINE_BYTES_MAX], b"after".to_vec()]),
    ] {
        for size in [1, 2, 3, 4096, 10_000] {
            let mut lines = Lines::default();
            let mut found = Vec::new();
            for piece in text.chunks(size) {
                lines.add(piece, &mut |line: &[u8]| found.push(line.to_vec()));
            }
            assert_eq!(found, wanted, "in pieces of {size}");
        }
    }
}

#[test]
fn streams_and_their_stoppers_may_be_given_to_other_threads() {
    const fn shared<T: Send + Sync>() {}
    shared::<CommandStream>();
    shared::<CommandStop>();
}
