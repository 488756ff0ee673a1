//! Scanners that say who they are in their User-Agent, found in one pass over the field. Never blames a browser, a
//! library or a shell: those are how people write clients.

use aho_corasick::{AhoCorasick, AhoCorasickKind};

/// Words to look for in a User-Agent.
pub struct Agents {
    words: AhoCorasick,
    names: Vec<Box<str>>,
}

impl Agents {
    /// The known scanners and the operator's own words; at most [`WORDS_MAX`] of those, of 2 to 64 bytes.
    pub fn new(own: &[String]) -> Self {
        let own =
            own.iter().map(String::as_str).filter(|word| (2..=64).contains(&word.len())).take(WORDS_MAX);
        let names: Vec<Box<str>> = SCANNERS.iter().copied().chain(own).map(Box::from).collect();
        let words = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .kind(Some(AhoCorasickKind::DFA))
            .build(names.iter().map(|name| name.as_bytes()))
            .expect("a few hundred short words fit into an automaton");
        Self { words, names }
    }

    /// The scanner that a User-Agent names.
    pub fn find(&self, user_agent: &[u8]) -> Option<&str> {
        let found = self.words.find(user_agent)?;
        Some(&self.names[found.pattern().as_usize()])
    }
}

/// Words an operator may add: the automaton stays below a megabyte.
pub const WORDS_MAX: usize = 256;

/// Tools whose only use against a server that is not one's own is an attack, as they name themselves.
const SCANNERS: [&str; 52] = [
    "sqlmap",
    "sqlninja",
    "sqlsus",
    "havij",
    "bsqlbf",
    "jsql injection",
    "nikto",
    "nmap",
    "masscan",
    "zgrab",
    "zmeu",
    "acunetix",
    "nessus",
    "openvas",
    "netsparker",
    "invicti",
    "qualys",
    "appscan",
    "webinspect",
    "burpcollaborator",
    "burp suite",
    "owasp zap",
    "zaproxy",
    "arachni",
    "skipfish",
    "w3af",
    "wapiti",
    "vega/",
    "wpscan",
    "joomscan",
    "droopescan",
    "cmsmap",
    "whatweb",
    "dirbuster",
    "dirb ",
    "gobuster",
    "feroxbuster",
    "ffuf",
    "wfuzz",
    "fuzz faster",
    "nuclei",
    "jaeles",
    "hydra",
    "medusa/",
    "brutus/aet",
    "patator",
    "commix",
    "xsser",
    "dalfox",
    "fimap",
    "metasploit",
    "morfeus",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scanners_are_found_whatever_their_case_and_place() {
        let agents = Agents::new(&["evilbot".into(), "x".into()]);
        for (text, name) in [
            ("sqlmap/1.8#stable (https://sqlmap.org)", "sqlmap"),
            ("Mozilla/5.00 (Nikto/2.5.0) (Evasions:None) (Test:Port Check)", "nikto"),
            ("Mozilla/5.0 (compatible; Nmap Scripting Engine; https://nmap.org/book/nse.html)", "nmap"),
            ("EvilBot/1", "evilbot"),
        ] {
            assert_eq!(agents.find(text.as_bytes()), Some(name), "{text}");
        }
        for text in [
            "Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0",
            "curl/8.11.0",
            "python-requests/2.32.3",
            "Go-http-client/1.1",
            "k6/0.55.0 (https://k6.io/)",
            "",
        ] {
            assert_eq!(agents.find(text.as_bytes()), None, "{text}");
        }
    }
}
