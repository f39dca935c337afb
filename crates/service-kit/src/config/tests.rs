use super::*;
use serde::Deserialize;
use std::fs;
use std::net::SocketAddr;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Grpc {
    listen: SocketAddr,
    max_connections: u32,
    drain: Span,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Feed {
    endpoint: Option<String>,
    names: Vec<String>,
    password: String,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Daemon {
    grpc: Grpc,
    feed: Feed,
}

impl Default for Grpc {
    fn default() -> Self {
        Self {
            listen: ([127, 0, 0, 1], 50051).into(),
            max_connections: 1000,
            drain: Span::secs(10),
        }
    }
}

impl Settings for Daemon {
    fn mistakes(&self) -> Vec<Mistake> {
        let zero = (self.grpc.max_connections == 0)
            .then(|| Mistake::new("grpc.max_connections", "must be above 0"));
        zero.into_iter().collect()
    }
}

fn file(text: &str) -> (tempfile::TempDir, Option<PathBuf>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("daemon.toml");
    fs::write(&path, text).unwrap();
    (folder, Some(path))
}

fn set(key: &str, value: &str) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

fn loader() -> Loader {
    Loader::new("DAEMON")
        .alias("THE_GRPC", "grpc.listen")
        .alias_with("THE_FEED", "feed.endpoint", |address| {
            format!("https://{address}")
        })
        .environment([])
}

#[test]
fn each_layer_wins_over_the_one_before() {
    let (_folder, path) =
        file("[grpc]\nlisten = \"127.0.0.1:1\"\nmax_connections = 1\ndrain = \"1s\"\n");
    let all = [
        ("THE_GRPC", "127.0.0.1:2"),
        ("DAEMON_GRPC_MAX_CONNECTIONS", "3"),
        ("OTHER_GRPC_X", "9"),
    ];
    let rows = [
        (loader(), ("127.0.0.1:50051", 1000, 10)),
        (loader().file(path.clone()), ("127.0.0.1:1", 1, 1)),
        (
            loader().file(path.clone()).environment(all),
            ("127.0.0.1:2", 3, 1),
        ),
        (
            loader().environment([all[0], ("DAEMON_GRPC_LISTEN", "127.0.0.1:4")]),
            ("127.0.0.1:4", 1000, 10),
        ),
        (
            loader()
                .file(path)
                .environment(all)
                .flags([set("grpc.max_connections", "5")]),
            ("127.0.0.1:2", 5, 1),
        ),
    ];
    for (loader, (listen, max_connections, drain)) in rows {
        let shown = format!("{loader:?}");
        let expected = Grpc {
            listen: listen.parse().unwrap(),
            max_connections,
            drain: Span::secs(drain),
        };
        assert_eq!(loader.load::<Daemon>().unwrap().grpc, expected, "{shown}");
    }
}

#[test]
fn texts_are_read_as_what_the_setting_wants() {
    let variables = [
        ("DAEMON_FEED_NAMES", r#"["a", "b"]"#),
        ("DAEMON_FEED_PASSWORD", "12345"),
        ("THE_FEED", "127.0.0.1:50052"),
        ("DAEMON_GRPC_DRAIN", "250ms"),
    ];
    let daemon: Daemon = loader().environment(variables).load().unwrap();
    assert_eq!(daemon.feed.names, ["a", "b"]);
    assert_eq!(daemon.feed.password, "12345");
    assert_eq!(
        daemon.feed.endpoint.as_deref(),
        Some("https://127.0.0.1:50052")
    );
    assert_eq!(daemon.grpc.drain, Span::millis(250));
}

#[test]
fn every_mistake_of_every_layer_is_named_at_once() {
    let (_folder, path) = file(
        "top = 1\n[grpc]\nlisten = \"nowhere\"\nmax_connections = 0\ndrain = 5\n[fed]\n[feed]\nnmes = []\n",
    );
    let variables = [
        ("DAEMON_GRPC_DRAIN", "ten"),
        ("DAEMON_GRPC_UNKNOWN", "1"),
        ("DAEMON_X", "1"),
        ("DAEMON_grpc_listen", "127.0.0.1:1"),
        ("THE_FEED_NOT", "ignored"),
    ];
    let flags = [set("grpc", "1"), set("grpc.listen.port", "1")];
    let errors = loader()
        .file(path)
        .environment(variables)
        .flags(flags)
        .load::<Daemon>()
        .unwrap_err();
    let shown = errors.to_string();
    for place in [
        "daemon.toml: top",
        "daemon.toml: grpc.listen",
        "daemon.toml: grpc.drain",
        "daemon.toml: fed",
        "daemon.toml: feed.nmes",
        "DAEMON_GRPC_DRAIN",
        "DAEMON_GRPC_UNKNOWN",
        "DAEMON_X",
        "DAEMON_grpc_listen",
        "--set grpc:",
        "--set grpc.listen.port",
        "grpc.max_connections: must be above 0",
    ] {
        assert!(shown.contains(place), "{place} is missing in\n{shown}");
    }
    assert_eq!(errors.mistakes().len(), 12, "{shown}");
}

#[test]
fn a_missing_or_broken_file_is_one_mistake() {
    let (folder, broken) = file("[grpc\n");
    let missing = Some(folder.path().join("absent.toml"));
    for (path, problem) in [(broken, "is not TOML"), (missing, "cannot be read")] {
        let errors = loader().file(path).load::<Daemon>().unwrap_err();
        assert_eq!(errors.mistakes().len(), 1, "{errors}");
        assert!(errors.to_string().contains(problem), "{errors}");
    }
}

#[test]
fn printed_settings_hold_no_secret_and_load_again() {
    let mut daemon = Daemon::default();
    daemon.feed.password = "hunter2".to_owned();
    daemon.feed.endpoint = Some("https://me:hunter2@host:1/p@th".to_owned());
    let printed = to_redacted_toml(&daemon).unwrap();
    assert!(!printed.contains("hunter2"), "{printed}");
    assert!(
        printed.contains("https://<redacted>@host:1/p@th"),
        "{printed}"
    );
    let (_folder, path) = file(&printed);
    assert_eq!(
        loader().file(path).load::<Daemon>().unwrap().grpc,
        daemon.grpc
    );
}

#[test]
fn the_flags_say_what_to_do() {
    let args = ConfigArgs {
        check_config: true,
        ..ConfigArgs::default()
    };
    assert!(matches!(args.load::<Daemon>(loader()), Ok(Start::Say(_))));
    let args = ConfigArgs {
        print_config: true,
        set: vec![set("grpc.drain", "1h")],
        ..ConfigArgs::default()
    };
    let Ok(Start::Say(printed)) = args.load::<Daemon>(loader()) else {
        panic!("not printed")
    };
    assert!(printed.contains("drain = \"1h\""), "{printed}");
    assert_eq!(
        ConfigArgs::default().load::<Daemon>(loader()),
        Ok(Start::Run(Daemon::default()))
    );
}

#[test]
fn a_secret_that_is_not_set_is_named() {
    let error = secret_from_env("NO_SUCH_SECRET_HERE").unwrap_err();
    assert!(error.to_string().contains("NO_SUCH_SECRET_HERE"));
}
