//! Programs that behave, programs that do not, and what of them could be seen by others.

use zeroize::Zeroizing;

use super::*;

fn shell(script: &str) -> Program {
    Program::of_command("sh", None, None, &Listener::silent()).arguments(["-c", script])
}

fn password(text: &str) -> Password {
    Password::new(Zeroizing::new(text.to_owned()))
}

fn in_container(user: Option<&str>) -> Access {
    let container = Container { name: "db".into(), program: "docker".into() };
    Access { container: Some(container), run_as: user.map(str::to_owned), ..Access::default() }
}

/// The arguments of a command, and the variables that it sets.
fn transcript(program: &Program) -> (Vec<String>, Vec<(String, Option<String>)>) {
    let command = program.command().expect("a command");
    let text = |part: &OsStr| part.to_str().expect("text").to_owned();
    let arguments = std::iter::once(command.get_program()).chain(command.get_args()).map(text).collect();
    // What else is withheld depends on what this process was given.
    let is_named = |name: &OsStr| OWN_SECRETS.iter().any(|own| name == *own) || !passed_on::is_own(name);
    let variables = command.get_envs().filter(|(name, _)| is_named(name));
    let variables = variables.map(|(name, value)| (text(name), value.map(text))).collect();
    (arguments, variables)
}

fn dump(program: &Program, completeness: impl Completeness + 'static) -> (Vec<u8>, Result<()>) {
    let mut open = program.open("cannot dump it", completeness).expect("it starts");
    let mut bytes = Vec::new();
    open.reader.read_to_end(&mut bytes).expect("output");
    (bytes, (open.end)())
}

#[track_caller]
fn chain<T: fmt::Debug>(result: Result<T>) -> Vec<String> {
    result.expect_err("must fail").chain()
}

#[test]
fn secrets_are_in_the_environment_alone() {
    let access = Access { password: Some(password("s3cret")), ..Access::default() };
    let client = Program::client("psql", &access, &Listener::silent())
        .argument("-X")
        .password("PGPASSWORD", &access)
        .expect("a client");
    let removed = OWN_SECRETS.map(|name| (name.to_owned(), None));
    let client = client.without("HOME");
    let removed_here = [&removed[..], &[("HOME".to_owned(), None)]].concat();
    let set = |name: &str, value: &str| (name.to_owned(), Some(value.to_owned()));
    let (arguments, variables) = transcript(&client);
    assert_eq!(arguments, ["psql", "-X"]);
    let wanted = [&[set("LC_ALL", "C")][..], &removed_here[..], &[set("PGPASSWORD", "s3cret")]].concat();
    let sorted = |mut variables: Vec<(String, Option<String>)>| {
        variables.sort();
        variables
    };
    assert_eq!(sorted(variables), sorted(wanted));

    let access = Access { password: Some(password("s3cret")), ..in_container(Some("postgres")) };
    let client = Program::client("psql", &access, &Listener::silent())
        .argument("-X")
        .password("PGPASSWORD", &access)
        .expect("a client");
    let (arguments, variables) = transcript(&client);
    let wanted = "docker exec -i -u postgres --env LC_ALL=C --env PGPASSWORD db psql -X";
    assert_eq!(arguments, wanted.split(' ').collect::<Vec<_>>());
    assert_eq!(sorted(variables), sorted([&removed[..], &[set("PGPASSWORD", "s3cret")]].concat()));
    assert_eq!(format!("{client:?}"), "Program(psql in the container db)");
}

#[test]
fn what_is_for_this_program_is_passed_on_to_no_other() {
    for own in [
        "PACKSTONE_PASSWORD",
        "PACKSTONE_FROM_AWS_SECRET_ACCESS_KEY",
        "PACKSTONE_REPOSITORY",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AZURE_ACCOUNT_KEY",
        "AZURE_ACCOUNT_SAS",
        "B2_ACCOUNT_KEY",
        "WEBDAV_PASSWORD",
        "WEBDAV_TOKEN",
        "RCLONE_CONFIG_PASS",
        "GOOGLE_APPLICATION_CREDENTIALS",
    ] {
        assert!(passed_on::is_own(own.as_ref()), "{own}");
        assert!(!passed_on::is_of_anybody(own.as_ref()), "{own}");
    }
    for (name, is_of_anybody) in [
        ("PATH", true),
        ("LANG", true),
        ("LC_ALL", true),
        ("TZ", true),
        ("HOME", false),
        ("PGPASSWORD", false),
        ("LD_PRELOAD", false),
        ("DOCKER_HOST", false),
        ("PATHS", false),
    ] {
        assert!(!passed_on::is_own(name.as_ref()), "{name}");
        assert_eq!(passed_on::is_of_anybody(name.as_ref()), is_of_anybody, "{name}");
    }
    // What is set for a program reaches it, whatever its name.
    let set = Program::of_command("printenv", None, None, &Listener::silent())
        .secret("AWS_ACCESS_KEY_ID", &password("mine"));
    assert_eq!(set.argument("AWS_ACCESS_KEY_ID").capture_text().expect("set"), "mine\n");
    let current = uzers::get_user_by_uid(uzers::get_effective_uid());
    let Some(name) = current.as_ref().and_then(|user| user.name().to_str()) else { return };
    let printed =
        Program::of_command("env", None, Some(name), &Listener::silent()).capture_text().expect("variables");
    let is_wanted =
        |name: &str| passed_on::is_of_anybody(name.as_ref()) || ["HOME", "USER", "LOGNAME"].contains(&name);
    for line in printed.lines() {
        assert!(is_wanted(line.split('=').next().unwrap_or_default()), "{line}");
    }
}

#[test]
fn a_container_gives_its_own_password() {
    let access = Access { container_password: Some("POSTGRES_PASSWORD".into()), ..in_container(None) };
    let client = Program::client("psql", &access, &Listener::silent())
        .argument("-X")
        .password("PGPASSWORD", &access)
        .expect("a client");
    let script = r#"export PGPASSWORD="${POSTGRES_PASSWORD?}"; exec "$@""#;
    let wanted = ["docker", "exec", "-i", "--env", "LC_ALL=C", "db", "sh", "-c", script, "sh", "psql", "-X"]
        .map(str::to_owned);
    assert_eq!(transcript(&client).0, wanted);
    for bad in ["", "1A", "A B", "A}", "É"] {
        let access = Access { container_password: Some(bad.into()), ..in_container(None) };
        let refused = Program::client("psql", &access, &Listener::silent())
            .password("PGPASSWORD", &access)
            .expect_err("no name");
        assert_eq!(refused.kind(), ErrorKind::Usage, "{bad}");
    }
    let nowhere = Access { container: None, ..access };
    Program::client("psql", &nowhere, &Listener::silent())
        .password("PGPASSWORD", &nowhere)
        .expect_err("whose variable");
    // As a shell takes it.
    let run = |variable: &str| {
        let program =
            Program::of_command("sh", None, None, &Listener::silent()).variable("GIVEN", "a 'b' $c");
        let arguments =
            ["-c", &script.replace("POSTGRES_PASSWORD", variable), "sh", "printenv", "PGPASSWORD"];
        program.arguments(arguments).capture_text()
    };
    assert_eq!(run("GIVEN").expect("a variable"), "a 'b' $c\n");
    let unset = chain(run("NOT_GIVEN"));
    assert!(unset.iter().any(|message| message.contains("NOT_GIVEN")), "{unset:?}");
}

#[test]
fn an_answer_is_taken_and_a_failure_explained() {
    let said = Arc::new(Mutex::new(Vec::new()));
    let saying = Arc::clone(&said);
    let listener = Listener::new(move |line| saying.lock().expect("a list").push(line.to_owned()));
    assert_eq!(Program { listener, ..shell("echo a; echo b >&2") }.capture_text().expect("an answer"), "a\n");
    assert_eq!(*said.lock().expect("a list"), ["b"]);
    let failed = shell("echo one >&2; echo Connection refused >&2; exit 4").capture();
    assert_eq!(
        chain(failed),
        [
            "sh exited with status 4",
            "the server cannot be reached: it does not run, or listens elsewhere",
            "one",
            "Connection refused",
        ]
    );
    let program = Program::of_command("printenv", None, None, &Listener::silent());
    assert_eq!(
        program.clone().secret("A_SECRET", &password("s")).argument("A_SECRET").capture().expect("set"),
        b"s\n"
    );
    program.argument("A_SECRET").run().expect_err("it was set for the other alone");
    shell(r"printf '\377'").capture_text().expect_err("no text");
}

#[test]
fn a_password_that_is_given_by_a_file_is_not_told_either() {
    let access = Access { password: Some(password("hunter22")), ..Access::default() };
    let file = SecretFile::new(b"password = hunter22").expect("a file");
    let program =
        Program::client("sh", &access, &Listener::silent()).arguments(["-c", "cat \"$0\" >&2; exit 4"]);
    let failed = program.argument(file.path()).holding(&file).capture();
    assert_eq!(chain(failed), ["sh exited with status 4", "password = …"]);
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let absent = Program::of_command("no-such-program", None, None, &Listener::silent()).argument("secret");
    let error = absent.capture().expect_err("absent");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(error.chain(), ["there is no program no-such-program on this machine"]);
    let access = Access { programs: Some("/no/such/folder".into()), ..Access::default() };
    let absent = Program::client("psql", &access, &Listener::silent())
        .open("cannot dump it", NotEmpty)
        .err()
        .expect("absent");
    assert_eq!(absent.chain(), ["cannot dump it", "there is no program psql in the folder /no/such/folder"]);
    let container = Container { name: "db".into(), program: "no-docker".into() };
    let absent = Program::of_command("psql", Some(&container), None, &Listener::silent()).run();
    assert_eq!(chain(absent), ["there is no program no-docker on this machine"]);
}

#[test]
fn only_whole_output_is_a_dump() {
    let whole = || EndsWith::text("sh", "end");
    let (bytes, ended) = dump(&shell("printf '%s' begin end"), whole());
    ended.expect("whole");
    assert_eq!(bytes, b"beginend");
    for (script, wanted) in [
        ("printf begin", "the output of sh breaks off: it does not end with \"end\""),
        ("printf end; exit 3", "sh exited with status 3"),
        ("exit 0", "sh succeeded, but wrote nothing"),
        ("printf end; kill -9 $$", "sh was ended by signal 9"),
    ] {
        let (_, ended) = dump(&shell(script), whole());
        assert_eq!(chain(ended), ["cannot dump it", wanted], "{script}");
    }
    let (_, ended) = dump(&shell("exit 0"), NotEmpty);
    assert_eq!(chain(ended), ["cannot dump it", "sh succeeded, but wrote nothing"]);
}

#[test]
fn a_dump_is_stopped_from_elsewhere() {
    let mut open = shell("echo begun; exec sleep 100").open("cannot dump it", NotEmpty).expect("it starts");
    open.reader.read_exact(&mut [0; 6]).expect("a line");
    std::thread::scope(|scope| {
        scope.spawn(|| (open.stop)());
        assert_eq!(open.reader.read(&mut [0]).expect("the end"), 0);
    });
    assert_eq!(chain((open.end)()), ["cannot dump it", "sh was stopped"]);
}

#[test]
fn a_program_is_fed_and_judged_by_its_own_end() {
    let feed = |script: &str, pieces: usize| {
        shell(script).feed(&mut |input| {
            (0..pieces).try_for_each(|_| input.write_all(&[b'x'; 1000])).wrap(|| "cannot write it")
        })
    };
    feed("test $(wc -c) = 1000000", 1000).expect("all is read");
    feed("exit 0", 0).expect("nothing is to be read");
    let failed = chain(feed("head -c 10 >/dev/null; echo no room: disk full >&2; exit 2", 1000));
    assert_eq!(
        failed,
        ["sh exited with status 2", "no space is left on the server's disk", "no room: disk full"]
    );
    for pieces in [1, 1000] {
        let left = chain(feed("exit 0", pieces));
        assert_eq!(left, ["sh succeeded without reading all that it was given"], "{pieces}");
    }
    let left = chain(feed("dd bs=1 count=10 >/dev/null 2>&1", 1));
    assert_eq!(left, ["sh succeeded without reading all that it was given"]);
}

#[test]
fn a_program_that_is_not_given_everything_is_killed() {
    let scratch = tempfile::tempdir().expect("a folder");
    let mark = scratch.path().join("mark");
    let script = format!("cat >/dev/null; touch {}", mark.display());
    let failed = shell(&script).feed(&mut |input| {
        input.write_all(b"half").wrap(|| "cannot write it")?;
        Err(Error::damaged("a chunk is damaged"))
    });
    let failed = failed.expect_err("half");
    assert_eq!(failed.kind(), ErrorKind::Damaged);
    assert_eq!(failed.chain(), ["sh was not given everything", "a chunk is damaged"]);
    assert!(!mark.exists());
}

#[test]
fn what_is_fed_comes_out_changed() {
    let through = |script: &str, next: &str, failing: bool| {
        let next = shell(next);
        let mut write = |input: &mut dyn Write| {
            input.write_all(&b"text\n".repeat(100_000)).wrap(|| "cannot write it")?;
            if failing { Err(Error::damaged("a chunk is damaged")) } else { Ok(()) }
        };
        shell(script).feed_through(&mut write, |output| {
            next.feed(&mut |input| std::io::copy(output, input).map(drop).wrap(|| "cannot pass it on"))
        })
    };
    through("tr t T", "test $(grep -c TexT) = 100000", false).expect("all went through");
    let failed = chain(through("tr t T; echo bad input >&2; exit 3", "cat >/dev/null", false));
    assert_eq!(
        failed,
        ["sh was not given everything", "cannot pass it on", "sh exited with status 3", "bad input"]
    );
    let failed = chain(through("tr t T", "echo bad output >&2; exit 4", false));
    assert_eq!(failed, ["sh exited with status 4", "bad output"]);
    let failed = chain(through("tr t T", "cat >/dev/null", true));
    assert_eq!(failed, ["sh was not given everything", "a chunk is damaged"]);
    let failed = chain(through("head -n 1", "cat >/dev/null", false));
    assert_eq!(failed, ["sh succeeded without reading all that it was given"]);
}

#[test]
fn another_program_judges_whether_output_is_whole() {
    let judged = |script: &str, judge: &str| {
        let judge = ReadBy::start(&shell(judge), "tool").expect("it starts");
        dump(&shell(script), judge).1
    };
    let many = "head -c 1000000 /dev/zero";
    judged(many, "test $(wc -c) = 1000000").expect("whole");
    let failed = chain(judged("head -c 999999 /dev/zero", "test $(wc -c) = 1000000"));
    assert_eq!(failed, ["cannot dump it", "the output of tool is not whole", "sh exited with status 1"]);
    let failed = chain(judged(many, "echo no >&2; exit 2"));
    assert_eq!(
        failed,
        ["cannot dump it", "the output of tool is not whole", "sh exited with status 2", "no"]
    );
    let unread = "what reads along did not read it to its end";
    let failed = chain(judged(many, "exit 0"));
    assert_eq!(failed, ["cannot dump it", "the output of tool is not whole", unread]);
}

#[test]
fn another_user_is_become_by_root_alone() {
    let program = |user: &str| {
        Program::of_command("sh", None, Some(user), &Listener::silent())
            .arguments(["-c", "id -u; id -G; pwd"])
    };
    let nobody = program("no such user").capture_text();
    assert_eq!(chain(nobody), ["this machine has no user no such user"]);
    let is_root = uzers::get_effective_uid() == 0;
    let Some(other) = uzers::get_user_by_name(if is_root { "nobody" } else { "root" }) else { return };
    let name = other.name().to_str().expect("a name");
    if is_root {
        let answer = program(name).capture_text().expect("an answer");
        assert_eq!(answer, format!("{}\n{}\n/\n", other.uid(), other.primary_group_id()));
    } else {
        assert_eq!(program(name).capture_text().expect_err("not root").kind(), ErrorKind::Denied);
    }
    let access = Access { run_as: Some(name.to_owned()), ..Access::default() };
    assert!(!reads_secret_files(&access));
    assert!(!reads_secret_files(&in_container(None)));
    let file = SecretFile::new(b"in memory").expect("a file");
    let read = Program::of_command("cat", None, None, &Listener::silent())
        .argument(file.path())
        .holding(&file)
        .capture_text();
    assert_eq!(read.expect("readable"), "in memory");
}

#[test]
fn a_question_without_an_answer_ends_in_time_or_when_all_is_to_end() {
    let late = shell("echo why >&2; sleep 1000").capture_within(Duration::ZERO).expect_err("late");
    let late = late.chain();
    assert_eq!(late[0], "sh gave no answer within 0 seconds");

    let (asked, was_asked) = std::sync::mpsc::channel();
    let listener = Listener::new(move |line| asked.send(line.to_owned()).expect("a receiver"));
    let stops = Arc::clone(listener.stops());
    let questions =
        [0, 1].map(|_| Program { listener: listener.clone(), ..shell("echo asked >&2; sleep 1000") });
    std::thread::scope(|scope| {
        let answers = questions.map(|question| scope.spawn(move || question.capture()));
        assert_eq!((was_asked.recv(), was_asked.recv()), (Ok("asked".into()), Ok("asked".into())));
        stops.stop_all();
        for answer in answers {
            assert_eq!(chain(answer.join().expect("no panic"))[0], "sh was stopped");
        }
    });
    let refused = Program { listener: listener.clone(), ..shell("sleep 1000") }.run();
    assert_eq!(chain(refused), ["sh was stopped"]);
    Program { listener: listener.for_undoing(), ..shell("exit 0") }.run().expect("what must be done");
}

#[test]
fn a_variable_of_this_process_comes_first_where_it_is_passed_on() {
    let program = |name: &str| {
        let program = Program::of_command("/bin/sh", None, None, &Listener::silent());
        program.variable_unless_set(name, "ours").arguments(["-c".to_owned(), format!("echo \"${name}\"")])
    };
    let said = |name: &str| program(name).capture_text().expect("an answer");
    assert_ne!(said("PATH"), "ours\n");
    assert_eq!(said("PACKSTONE_TEST_NEVER_SET"), "ours\n");
}

#[test]
fn another_user_has_all_of_its_groups() {
    // Only root becomes somebody else; Debian gives this user a second group.
    let Some(user) = uzers::get_user_by_name("postgres").filter(|_| uzers::get_effective_uid() == 0) else {
        return;
    };
    let program = Program::of_command("id", None, Some("postgres"), &Listener::silent());
    let sorted = |text: &str| {
        let mut groups: Vec<u32> =
            text.split_whitespace().map(|gid| gid.parse().expect("a number")).collect();
        groups.sort_unstable();
        groups
    };
    let found = sorted(&program.argument("-G").capture_text().expect("an answer"));
    let listed = uzers::get_user_groups("postgres", user.primary_group_id()).expect("groups");
    let listed = listed.iter().map(|group| group.gid().to_string()).collect::<Vec<_>>().join(" ");
    assert_eq!(found, sorted(&listed));
    let missing = Program::of_command("no-such-program", None, Some("postgres"), &Listener::silent());
    assert_eq!(missing.run().expect_err("it is not there").kind(), ErrorKind::NotFound);
}
