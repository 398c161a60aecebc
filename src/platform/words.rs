//! What each system calls things: a remedy names what is there.

/// The words of a system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Words {
    /// As whom the agent runs.
    pub user: &'static str,
    /// The same, where it may be on another host's share.
    pub user_there: &'static str,
    /// What a certificate may be in.
    pub file: &'static str,
    /// The folders that are closed to the packaged service.
    pub closed: &'static [&'static str],
    /// What to do where a file is missing.
    pub missing: &'static str,
    /// And where it is in one of those folders.
    pub missing_in_closed: &'static str,
    /// Where the agent does not see what its user's command does.
    pub unseen: &'static str,
    /// Where a folder is not there, or the agent may not write in it.
    pub let_write: &'static str,
    /// Where a file system is read-only to the agent.
    pub read_only: &'static str,
    /// Starts the agent again.
    pub restart: &'static str,
    /// Has the agent read its configuration again.
    pub reload: &'static str,
}

/// Linux, and whatever is like it.
pub(super) const UNIX: Words = Words {
    user: "certhook's user",
    user_there: "certhook's user",
    file: "PEM file",
    closed: &["/home", "/root", "/run/user", "/tmp"],
    missing: "see that the path is right; certhook goes on when the file comes",
    missing_in_closed: "see that the path is right; to the packaged service /home, /root and /tmp are closed: open the \
                        folder with BindReadOnlyPaths= (systemctl edit certhook), and restart it",
    unseen: "the packaged service is kept out of /home, /root and /tmp: open the folder to it with \
             BindReadOnlyPaths= (systemctl edit certhook) and restart it; or, if the configuration \
             is newer than the agent, run: systemctl reload certhook",
    let_write: "make the folder, and let certhook's user write in it (also in its unit's sandbox)",
    read_only: "the packaged service may write in its state folder only: add ReadWritePaths= with that \
                folder by systemctl edit certhook, and restart it",
    restart: "run: systemctl restart certhook",
    reload: "systemctl reload certhook",
};

/// Windows: the service is SYSTEM, which a share knows as its computer, and has nobody's drive letters.
pub(super) const WINDOWS: Words = Words {
    user: "SYSTEM",
    user_there: "SYSTEM (on a share: the computer account, HOST$)",
    file: "PEM or PFX file",
    closed: &[],
    missing: r"see that the path is right, and of a share that it is \\HOST\SHARE\...: the service has no mapped drives; certhook goes on when the file comes",
    missing_in_closed: "",
    unseen: r"the service runs as SYSTEM: let SYSTEM (on a share: the computer account, HOST$) read it, and name a share by \\HOST\SHARE, as the service has no mapped drives; or, if the configuration is newer than the agent, run in an elevated prompt: sc control certhook paramchange",
    let_write: "make the folder, and let SYSTEM (on a share: the computer account, HOST$) write in it",
    read_only: "the disk or the share is read-only: end that, or name a file elsewhere",
    restart: "run in an elevated prompt: sc stop certhook, then sc start certhook",
    reload: "sc control certhook paramchange",
};

#[cfg(test)]
mod tests {
    use super::*;

    fn all(words: &Words) -> String {
        let Words {
            user,
            user_there,
            file,
            closed,
            missing,
            missing_in_closed,
            unseen,
            let_write,
            read_only,
            restart,
            reload,
        } = words;
        let said = [
            user,
            user_there,
            file,
            missing,
            missing_in_closed,
            unseen,
            let_write,
            read_only,
            restart,
            reload,
        ];
        said.iter().map(|said| format!("{said}\n")).collect::<String>() + &closed.join("\n")
    }

    #[test]
    fn no_system_has_the_other_ones_words() {
        let table: [(Words, &[&str], &[&str]); 2] = [
            (
                UNIX,
                &["systemctl reload certhook", "BindReadOnlyPaths=", "ReadWritePaths=", "/home"],
                &["SYSTEM", "sc control", "PFX", "HOST$", "elevated"],
            ),
            (
                WINDOWS,
                &["SYSTEM", "HOST$", "PFX", "sc control certhook paramchange", "mapped drives"],
                &["systemctl", "Paths=", "/home", "/tmp", "certhook's user", "sandbox", "unit"],
            ),
        ];
        for (words, has, has_not) in table {
            let all = all(&words);
            for word in has {
                assert!(all.contains(word), "{word}: {all}");
            }
            for word in has_not {
                assert!(!all.contains(word), "{word}: {all}");
            }
        }
    }

    #[test]
    fn this_system_has_its_own() {
        let own = if super::super::HAS_IIS { WINDOWS } else { UNIX };
        assert_eq!(super::super::WORDS, own);
    }
}
