use super::*;

#[test]
fn text_to_address_and_back() {
    for (text, address, printed) in [
        (
            "/run/qmp.sock",
            Address::unix("/run/qmp.sock"),
            "unix:/run/qmp.sock",
        ),
        (
            "unix:/run/qmp.sock",
            Address::unix("/run/qmp.sock"),
            "unix:/run/qmp.sock",
        ),
        ("qmp.sock", Address::unix("qmp.sock"), "unix:qmp.sock"),
        ("unix:tcp:1", Address::unix("tcp:1"), "unix:tcp:1"),
        (
            "tcp:localhost:4444",
            Address::Tcp("localhost:4444".into()),
            "tcp:localhost:4444",
        ),
        (
            "tcp:[::1]:4444",
            Address::Tcp("[::1]:4444".into()),
            "tcp:[::1]:4444",
        ),
    ] {
        assert_eq!(text.parse(), Ok(address.clone()), "{text}");
        assert_eq!(address.to_string(), printed);
        assert_eq!(printed.parse(), Ok(address), "{printed}");
    }
}

#[test]
fn text_that_is_no_address() {
    for text in ["", "unix:"] {
        assert_eq!(text.parse::<Address>(), Err(ParseAddressError::NoPath), "{text}");
    }
    for rest in ["", "4444", ":4444", "host:", "host:port", "host:65536"] {
        let error = ParseAddressError::NoHostAndPort(rest.into());
        assert_eq!(format!("tcp:{rest}").parse::<Address>(), Err(error));
    }
}
