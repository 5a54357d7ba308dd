//! The environment: variables that start with `RELAYCAST_`.

use std::collections::BTreeMap;
use std::env;

use super::{VARIABLE_PREFIX, nearest};

/// Every variable of ours, as it is now.
pub fn from_environment() -> BTreeMap<String, String> {
    env::vars_os()
        .map(|(name, text)| (name.to_string_lossy().into_owned(), text.to_string_lossy().into_owned()))
        .filter(|(name, _)| name.starts_with(VARIABLE_PREFIX))
        .collect()
}

/// A sentence for each variable that nobody reads, without its value: it may be a misnamed secret.
///
/// Those that Kubernetes sets for services called `relaycast…` are passed over; nobody mistyped them.
pub fn unknown_variables<'a>(variables: impl Iterator<Item = &'a str>, known: &[String]) -> Vec<String> {
    variables
        .filter(|name| !known.iter().any(|known| known == name) && !is_service_link(name))
        .map(|name| match nearest(name, known.iter().map(String::as_str)) {
            Some(meant) => format!("{name} is not used: did you mean {meant}?"),
            None => format!("{name} is not used"),
        })
        .collect()
}

/// Whether Kubernetes or `docker --link` gave a variable this name: `…_SERVICE_HOST`, `…_SERVICE_PORT[_NAME]`,
/// `…_PORT`, `…_PORT_8080_TCP[_ADDR|_PORT|_PROTO]`.
fn is_service_link(name: &str) -> bool {
    let numbered =
        |(_, rest): (&str, &str)| rest.split('_').next().is_some_and(|port| port.parse::<u16>().is_ok());
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.ends_with("_PORT")
        || name.rsplit_once("_PORT_").is_some_and(numbered)
        || name.split_once("_PORT_").is_some_and(numbered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_variable_is_told_and_a_service_link_is_not() {
        let known = ["RELAYCAST_LISTEN".to_owned(), "RELAYCAST_GRACE".to_owned()];
        let variables = [
            "RELAYCAST_LISTEN",
            "RELAYCAST_LISTN",
            "RELAYCAST_XYZ",
            "RELAYCAST_SERVICE_HOST",
            "RELAYCAST_EDGE_SERVICE_PORT_HTTP",
            "RELAYCAST_PORT",
            "RELAYCAST_PORT_8080_TCP",
            "RELAYCAST_PORT_8080_TCP_ADDR",
            "RELAYCAST_PORT_8080_TCP_PORT",
        ];
        assert_eq!(
            unknown_variables(variables.into_iter(), &known)[0],
            "RELAYCAST_LISTN is not used: did you mean RELAYCAST_LISTEN?"
        );
        assert_eq!(unknown_variables(variables.into_iter(), &known).len(), 2);
    }
}
