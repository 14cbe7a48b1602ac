use std::io::Write;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use flatview_testkit::{Peer, QmpServer};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
use serde_json::Value;

use super::*;

const TREE: &str = "address-space: memory\r\n  0000-ffff (prio 0, i/o): system\r\n\r\n";
const TREE_HERE: &str = "address-space: memory\n  0000-ffff (prio 0, i/o): system\n\n";

/// Options for servers that are silent on purpose.
fn hasty() -> Options {
    let time = Duration::from_millis(100);
    Options {
        connect: time,
        answer: time,
        ..Options::default()
    }
}

fn connect(server: &QmpServer) -> Client {
    Client::connect(&Address::unix(server.socket())).unwrap()
}

fn connect_hastily(server: &QmpServer) -> Result<Client, Error> {
    Client::connect_with(&Address::unix(server.socket()), hasty())
}

/// What comes of `info mtree` when the server does this after it heard the command with this `id`.
fn ask(answer: impl FnOnce(&mut Peer, Value) + Send + 'static) -> Result<String, Error> {
    let server = QmpServer::after_handshake(|peer| {
        let (line, id) = peer.hear_human();
        assert_eq!(line, "info mtree");
        answer(peer, id);
    });
    connect(&server).info_mtree(Flags::default())
}

#[test]
fn the_greeting_tells_the_version() {
    let server = QmpServer::after_handshake(|_| ());
    let client = connect(&server);
    let Version {
        major,
        minor,
        micro,
        package,
    } = client.version();
    assert_eq!((*major, *minor, *micro, package.as_str()), (7, 2, 22, "Debian"));
    assert_eq!(client.version().to_string(), "7.2.22 (Debian)");
}

#[test]
fn a_version_without_a_package() {
    let version = |json| serde_json::from_value::<Version>(json).unwrap().to_string();
    let numbers = json!({"major": 10, "minor": 0, "micro": 1});
    assert_eq!(version(json!({"qemu": numbers})), "10.0.1");
    assert_eq!(version(json!({"qemu": numbers, "package": ""})), "10.0.1");
    assert_eq!(
        version(json!({"qemu": numbers, "package": " (v2.6)"})),
        "10.0.1 (v2.6)"
    );
}

#[test]
fn ends_of_lines_become_ours() {
    let dump = ask(|peer, id| peer.send(&json!({"return": TREE, "id": id})));
    assert_eq!(dump.unwrap(), TREE_HERE);
}

#[test]
fn flags_reach_the_monitor() {
    let server = QmpServer::after_handshake(|peer| {
        let (line, id) = peer.hear_human();
        peer.send(&json!({"return": format!("FlatView #0: {line}"), "id": id}));
    });
    let all = Flags {
        flat: true,
        dispatch: true,
        owners: true,
        disabled: true,
    };
    assert_eq!(
        connect(&server).info_mtree(all).unwrap(),
        "FlatView #0: info mtree -f -d -o -D"
    );
}

#[test]
fn events_and_answers_to_others_are_skipped() {
    let dump = ask(|peer, id| {
        peer.send(&json!({"event": "RESUME", "timestamp": {"seconds": 1, "microseconds": 2}}));
        peer.send(&json!({"return": "not this", "id": 4711}));
        peer.send(&json!({"error": {"class": "GenericError", "desc": "nor this"}, "id": "mine"}));
        peer.send(&json!({"event": "STOP", "data": {"id": id, "return": "nor this"}}));
        peer.send(&json!({"id": id, "return": TREE}));
    });
    assert_eq!(dump.unwrap(), TREE_HERE);
}

#[test]
fn events_before_the_capabilities_are_skipped() {
    let server = QmpServer::start(|peer| {
        peer.greet();
        peer.send(&json!({"event": "RESUME"}));
        let (_, message) = peer.hear().unwrap();
        peer.send(&json!({"return": {}, "id": message["id"]}));
    });
    connect(&server);
}

#[test]
fn an_answer_without_an_id_is_ours() {
    assert_eq!(
        ask(|peer, _| peer.send(&json!({"return": TREE}))).unwrap(),
        TREE_HERE
    );
    let error = ask(|peer, _| peer.send(&json!({"error": {"class": "GenericError", "desc": "no"}})));
    assert!(matches!(error, Err(Error::Failed { .. })), "{error:?}");
}

#[test]
fn lines_may_come_in_pieces_and_together() {
    let dump = ask(|peer, id| {
        let text = format!(
            "{}\n{}\n",
            json!({"event": "STOP"}),
            json!({"return": TREE, "id": id})
        );
        for piece in text.as_bytes().chunks(7) {
            peer.say(piece);
            thread::sleep(Duration::from_micros(100));
        }
    });
    assert_eq!(dump.unwrap(), TREE_HERE);
}

#[test]
fn a_long_answer_comes_whole() {
    let long = TREE.repeat(50_000);
    let expected = TREE_HERE.repeat(50_000);
    let dump = ask(move |peer, id| peer.send(&json!({"return": long, "id": id})));
    assert!(dump.unwrap() == expected);
}

#[test]
fn an_error_of_qemu_says_class_and_words() {
    let error = ask(|peer, id| {
        peer.send(&json!({"id": id, "error": {"class": "CommandNotFound", "desc": "not here"}}));
    });
    assert_eq!(
        error.unwrap_err().to_string(),
        "QEMU cannot do `info mtree`: not here (CommandNotFound)"
    );
}

#[test]
fn a_complaint_of_the_monitor_is_no_dump() {
    for (complaint, shown) in [
        (
            "mtree: unsupported option -D\r\nTry \"help info mtree\" for more information\r\n",
            "mtree: unsupported option -D Try \"help info mtree\" for more information",
        ),
        (
            "unknown command: 'info mtree'\r\n",
            "unknown command: 'info mtree'",
        ),
        ("", "nothing"),
    ] {
        let error = ask(move |peer, id| peer.send(&json!({"return": complaint, "id": id}))).unwrap_err();
        let Error::Refused { command, answer } = error else {
            panic!("{error:?}")
        };
        assert_eq!(command, "info mtree");
        assert_eq!(answer, shown);
    }
}

#[test]
fn dumps_of_all_ages_are_dumps() {
    for dump in [
        "memory\n0000000000000000-7ffffffffffffffe (prio 0, RW): system\n",
        "address-space: none\n",
        "FlatView #0\n No rendered FlatView\n",
        "address-space (anonymous)\n",
    ] {
        assert!(is_dump(dump), "{dump}");
    }
}

#[test]
fn what_is_no_json_is_shown() {
    let error = ask(|peer, _| peer.say("{\"return\": tree}\n")).unwrap_err();
    assert!(matches!(error, Error::NotJson { .. }), "{error:?}");
    assert!(
        error.to_string().ends_with("this came: {\"return\": tree}"),
        "{error}"
    );
}

#[test]
fn what_is_no_answer_is_shown() {
    for message in [
        json!({"id": 2}),
        json!({"id": 2, "return": 7}),
        json!({"id": 2, "error": "no"}),
        json!({}),
    ] {
        let line = message.to_string();
        let error = ask(move |peer, _| peer.send(&message)).unwrap_err();
        let Error::Unexpected { line: shown, .. } = error else {
            panic!("{error:?}")
        };
        assert_eq!(shown, line);
    }
}

#[test]
fn bytes_that_are_no_text_are_an_error() {
    let error = ask(|peer, _| peer.say(b"{\"return\": \"\xff\"}\n")).unwrap_err();
    assert!(matches!(error, Error::NotJson { .. }), "{error:?}");
}

#[test]
fn a_human_monitor_is_told_by_its_greeting() {
    let server = QmpServer::start(|peer| peer.say("QEMU 7.2.22 monitor - type 'help'\r\n(qemu) "));
    let error = connect_hastily(&server).unwrap_err();
    let Error::NotJson { asked, .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(asked, "QEMU's greeting");
    assert!(error.to_string().contains("QEMU 7.2.22 monitor"), "{error}");
}

#[test]
fn a_greeting_must_have_a_version() {
    for message in [
        json!({"QMP": {}}),
        json!({"return": {}}),
        json!({"QMP": {"version": {"qemu": {}}}}),
    ] {
        let server = QmpServer::start(move |peer| peer.send(&message));
        let error = connect_hastily(&server).unwrap_err();
        assert!(matches!(error, Error::Unexpected { .. }), "{error:?}");
    }
}

#[test]
fn silence_instead_of_a_greeting_ends() {
    let server = QmpServer::start(|peer| assert!(peer.hear().is_none()));
    let error = connect_hastily(&server).unwrap_err();
    assert!(matches!(error, Error::NoGreeting { .. }), "{error:?}");
    assert!(
        error
            .to_string()
            .contains("within 0.1 s: either another client has the socket"),
        "{error}"
    );
}

#[test]
fn a_queue_that_is_full_ends() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("qmp.sock");
    // Nobody accepts, and one may wait.
    let listener = socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .unwrap();
    bind(&listener, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    listen(&listener, 0).unwrap();
    let _first = UnixStream::connect(&path).unwrap();
    let error = Client::connect_with(&Address::unix(&path), hasty()).unwrap_err();
    assert!(matches!(error, Error::NoGreeting { .. }), "{error:?}");
}

#[test]
fn silence_instead_of_an_answer_ends_and_a_late_answer_is_skipped() {
    let (go, wait) = mpsc::channel::<()>();
    let server = QmpServer::after_handshake(move |peer| {
        let (_, first) = peer.hear_human();
        peer.say("{\"return\": \"FlatView #1\", ");
        wait.recv().unwrap();
        peer.say(format!("\"id\": {first}}}\n"));
        let (_, second) = peer.hear_human();
        peer.send(&json!({"return": "FlatView #2", "id": second}));
    });
    let mut client = connect_hastily(&server).unwrap();
    let error = client.info_mtree(Flags::default()).unwrap_err();
    assert_eq!(error.to_string(), "no answer to `info mtree` within 0.1 s");
    client.options.answer = Duration::from_secs(30);
    go.send(()).unwrap();
    assert_eq!(client.info_mtree(Flags::default()).unwrap(), "FlatView #2");
}

#[test]
fn a_trickle_ends_as_well() {
    let server = QmpServer::after_handshake(|peer| {
        peer.hear_human();
        for _ in 0..40 {
            peer.say(" ");
            thread::sleep(Duration::from_millis(10));
        }
    });
    let mut client = connect_hastily(&server).unwrap();
    let begin = Instant::now();
    let error = client.info_mtree(Flags::default()).unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error:?}");
    assert!(
        begin.elapsed() < Duration::from_millis(350),
        "{:?}",
        begin.elapsed()
    );
}

#[test]
fn events_without_end_end_as_well() {
    let server = QmpServer::after_handshake(|peer| {
        peer.hear_human();
        for _ in 0..40 {
            peer.send(&json!({"event": "RTC_CHANGE"}));
            thread::sleep(Duration::from_millis(10));
        }
    });
    let error = connect_hastily(&server)
        .unwrap()
        .info_mtree(Flags::default())
        .unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error:?}");
}

#[test]
fn a_line_without_end_is_refused() {
    for ended in [false, true] {
        let server = QmpServer::after_handshake(move |peer| {
            peer.hear_human();
            peer.say(" ".repeat(3 << 20));
            peer.say(if ended { "\n" } else { "" });
        });
        let options = Options {
            longest_line: 1 << 20,
            ..Options::default()
        };
        let mut client = Client::connect_with(&Address::unix(server.socket()), options).unwrap();
        let error = client.info_mtree(Flags::default()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the line that should answer `info mtree` is longer than 1048576 bytes"
        );
    }
}

#[test]
fn the_longest_line_is_still_taken() {
    let answer = json!({"return": "FlatView #0"}).to_string();
    for (longest, taken) in [(answer.len(), true), (answer.len() - 1, false)] {
        let answer = answer.clone();
        let server = QmpServer::after_handshake(move |peer| {
            peer.hear_human();
            peer.say(format!("{answer}\n"));
        });
        let mut client = connect(&server);
        client.lines.set_longest(longest);
        assert_eq!(client.info_mtree(Flags::default()).is_ok(), taken, "{longest}");
    }
}

#[test]
fn a_connection_that_closes_says_when() {
    let error = ask(|_, _| ()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "QEMU closed the connection before it answered `info mtree`"
    );
    let error = ask(|peer, _| peer.say("{\"return\": ")).unwrap_err();
    assert!(matches!(error, Error::Closed { .. }), "{error:?}");
    let error = connect_hastily(&QmpServer::start(|_| ())).unwrap_err();
    assert!(matches!(error, Error::Closed { .. }), "{error:?}");
}

#[test]
fn nobody_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("none.sock");
    let error = Client::connect(&Address::unix(&path)).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("cannot connect to unix:{}", path.display())
    );
    let Error::Connect { source, .. } = error else {
        panic!("{error:?}")
    };
    assert_eq!(source.kind(), ErrorKind::NotFound);

    let error = Client::connect(&Address::unix("x".repeat(200))).unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error:?}");
}

#[test]
fn tcp_works_as_well() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::Tcp(listener.local_addr().unwrap().to_string());
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let greeting = json!({"QMP": {"version": {"qemu": {"major": 10, "minor": 0, "micro": 0}}}});
        write!(stream, "{greeting}\r\n{}\r\n", json!({"return": {}, "id": 1})).unwrap();
        write!(stream, "{}\r\n", json!({"return": TREE, "id": 2})).unwrap();
        // Until the client leaves, or the answers could be lost.
        std::io::copy(&mut stream, &mut std::io::sink()).unwrap();
    });
    let mut client = Client::connect(&address).unwrap();
    assert_eq!(client.version().to_string(), "10.0.0");
    assert_eq!(client.info_mtree(Flags::default()).unwrap(), TREE_HERE);
    drop(client);
    server.join().unwrap();
}

#[test]
fn excerpts_are_short_and_on_one_line() {
    assert_eq!(excerpt(b" a\r\n\tb \x1b[31m"), "a b \\u{1b}[31m");
    let long = excerpt("\u{20ac}".repeat(1000).as_bytes());
    assert!(long.len() < 2 * SHOWN && long.ends_with(" ..."), "{long}");
}
