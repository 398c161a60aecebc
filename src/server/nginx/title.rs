//! A master's title: `nginx: master process /usr/sbin/nginx -g daemon on;`. Every user can read it.

/// The name and the command line that a master's title repeats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Title {
    /// `nginx`, `angie`, …
    pub(super) kind: String,
    /// The program as it was called, and its arguments. Blanks within them are lost.
    words: Vec<String>,
}

/// nginx and its relatives; OpenResty and Tengine call themselves nginx.
const KINDS: [&str; 5] = ["nginx", "angie", "freenginx", "openresty", "tengine"];

/// The options that say which nginx it is; each has a value.
const OPTIONS: [&str; 4] = ["-p", "-c", "-e", "-g"];

impl Title {
    /// `None` for any other process.
    pub(super) fn parse(title: &str) -> Option<Self> {
        let (kind, command) = title.split_once(": master process ")?;
        let words = bare(command).split_whitespace().map(str::to_owned).collect();
        KINDS.contains(&kind).then(|| Self { kind: kind.to_owned(), words })
    }

    /// The program as it was called.
    pub(super) fn program(&self) -> Option<&str> {
        self.words.first().map(String::as_str)
    }

    /// What stands behind `-c`, `-cFILE` included.
    pub(super) fn option(&self, name: &str) -> Option<String> {
        let at = self.words.iter().position(|word| word.starts_with(name))?;
        let rest = &self.words[at + 1..];
        match (&self.words[at][name.len()..], name) {
            // The quotes around what follows -g are lost; it ends where another option begins.
            (joined, "-g") => {
                let rest = rest.iter().map(String::as_str);
                let value = rest.take_while(|word| !OPTIONS.iter().any(|option| word.starts_with(option)));
                Some([joined].into_iter().chain(value).collect::<Vec<_>>().join(" ").trim().to_owned())
            }
            ("", _) => rest.first().cloned(),
            (joined, _) => Some(joined.to_owned()),
        }
    }

    /// The options that its configuration test needs.
    pub(super) fn arguments(&self) -> Vec<String> {
        let given = OPTIONS.into_iter().filter_map(|name| Some([name.to_owned(), self.option(name)?]));
        given.flatten().collect()
    }
}

/// Angie tells its version and generation too: `v1.11.5 PRO #1 [/usr/sbin/angie -c …]`.
fn bare(command: &str) -> &str {
    let command = command.trim();
    let versioned =
        command.strip_prefix('v').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    if !versioned {
        return command;
    }
    let inside = command.split_once('[').map_or("", |(_, inside)| inside);
    inside.strip_suffix(']').unwrap_or(inside)
}

#[cfg(test)]
mod tests {
    use super::Title;

    fn title(text: &str) -> Title {
        Title::parse(text).unwrap()
    }

    #[test]
    fn the_command_line_is_read_from_a_title() {
        let debian = title("nginx: master process /usr/sbin/nginx -g daemon on; master_process on; ");
        assert_eq!(debian.program(), Some("/usr/sbin/nginx"));
        assert_eq!(debian.arguments(), ["-g", "daemon on; master_process on;"]);
        let private = title("nginx: master process nginx -g daemon off; -p /srv/a -cconf/n.conf -e stderr");
        assert_eq!(private.option("-c").as_deref(), Some("conf/n.conf"));
        let all = ["-p", "/srv/a", "-c", "conf/n.conf", "-e", "stderr", "-g", "daemon off;"];
        assert_eq!(private.arguments(), all);
        let openresty = title("nginx: master process /usr/local/openresty/nginx/sbin/nginx -p /srv/or/");
        assert_eq!(openresty.option("-p").as_deref(), Some("/srv/or/"));
        assert_eq!(openresty.option("-c"), None);
    }

    #[test]
    fn angie_s_title_tells_more() {
        let angie = title("angie: master process v1.9.0 #3 [/usr/sbin/angie -c /etc/angie/angie.conf]");
        assert_eq!((angie.kind.as_str(), angie.program()), ("angie", Some("/usr/sbin/angie")));
        assert_eq!(angie.arguments(), ["-c", "/etc/angie/angie.conf"]);
        let pro = title("angie: master process v1.11.5 PRO #1 [/usr/sbin/angie -c /a.conf]");
        assert_eq!(pro.arguments(), ["-c", "/a.conf"]);
        assert_eq!(title("angie: master process v1.12.0").program(), None);
        assert_eq!(title("angie: master process angie -p /a").option("-p").as_deref(), Some("/a"));
    }

    #[test]
    fn others_are_no_masters() {
        for other in [
            "nginx: worker process",
            "php-fpm: master process (/etc/php/fpm.conf)",
            "nginx -g daemon off;",
            "",
        ] {
            assert_eq!(Title::parse(other), None, "{other}");
        }
    }
}
