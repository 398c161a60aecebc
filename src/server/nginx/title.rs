//! A master's title: `nginx: master process /usr/sbin/nginx -g daemon on;`. Every user can read it.

/// The name and the command line that a master's title repeats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Title {
    /// `nginx`, `angie`, …
    pub(super) kind: String,
    /// The program as it was called, and its options. The title shows no quotes: an argument with blanks ends where an
    /// option begins.
    program: String,
    options: Vec<String>,
}

/// nginx and its relatives; OpenResty and Tengine call themselves nginx.
const KINDS: [&str; 5] = ["nginx", "angie", "freenginx", "openresty", "tengine"];

/// The options that say which nginx it is; each has a value.
const OPTIONS: [&str; 4] = ["-p", "-c", "-e", "-g"];

/// An option without a value that a running master may have.
const QUIET: &str = "-q";

impl Title {
    /// `None` for any other process.
    pub(super) fn parse(title: &str) -> Option<Self> {
        let (kind, command) = title.split_once(": master process ")?;
        let mut options: Vec<String> = Vec::new();
        let mut program = String::new();
        for word in bare(command).split(' ') {
            if word == QUIET || OPTIONS.iter().any(|option| word.starts_with(option)) {
                options.push(word.to_owned());
                continue;
            }
            let argument = options.last_mut().unwrap_or(&mut program);
            if !argument.is_empty() {
                argument.push(' ');
            }
            argument.push_str(word);
        }
        let program = program.trim_end().to_owned();
        KINDS.contains(&kind).then(|| Self { kind: kind.to_owned(), program, options })
    }

    /// The program as it was called.
    pub(super) fn program(&self) -> Option<&str> {
        Some(self.program.as_str()).filter(|program| !program.is_empty())
    }

    /// What stands behind `-c`, `-cFILE` included.
    pub(super) fn option(&self, name: &str) -> Option<String> {
        let value = self.options.iter().find_map(|option| option.strip_prefix(name))?;
        Some(value.trim().to_owned()).filter(|value| name == "-g" || !value.is_empty())
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
    fn an_argument_with_blanks_ends_at_the_next_option() {
        let title = title(
            "nginx: master process /opt/my nginx/sbin/nginx -p /srv/my  site/ -c conf/n 1.conf -q -g x; ",
        );
        assert_eq!(title.program(), Some("/opt/my nginx/sbin/nginx"));
        assert_eq!(title.option("-p").as_deref(), Some("/srv/my  site/"));
        assert_eq!(title.arguments(), ["-p", "/srv/my  site/", "-c", "conf/n 1.conf", "-g", "x;"]);
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
