# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_certhook_global_optspecs
    string join \n config= log-level= log-format= h/help V/version
end

function __fish_certhook_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_certhook_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_certhook_using_subcommand
    set -l cmd (__fish_certhook_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c certhook -n "__fish_certhook_needs_command" -l config -d 'The configuration file' -r -F
complete -c certhook -n "__fish_certhook_needs_command" -l log-level -d 'How much is logged' -r -f -a "error\t'What certhook cannot do its work with'
warn\t'What somebody should look at'
info\t'Every change of a site\'s state'
debug\t'Every decision'
trace\t'Every event and action'"
complete -c certhook -n "__fish_certhook_needs_command" -l log-format -d 'How log lines look; under systemd they go to the journal with their fields unless this is said' -r -f -a "text\t'For people'
json\t'One JSON object a line'"
complete -c certhook -n "__fish_certhook_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c certhook -n "__fish_certhook_needs_command" -s V -l version -d 'Print version'
complete -c certhook -n "__fish_certhook_needs_command" -f -a "run" -d 'Run the agent in the foreground (what the service starts)'
complete -c certhook -n "__fish_certhook_needs_command" -f -a "sync" -d 'One pass now: inspect, reload, verify, report. For hooks and cron'
complete -c certhook -n "__fish_certhook_needs_command" -f -a "check" -d 'Name every problem of the configuration and the host, each with its remedy'
complete -c certhook -n "__fish_certhook_needs_command" -f -a "discover" -d 'Print what the servers have as configuration'
complete -c certhook -n "__fish_certhook_needs_command" -f -a "status" -d 'One line a site: its certificate, whether it is served and reported, what is wrong'
complete -c certhook -n "__fish_certhook_needs_command" -f -a "renew" -d 'Have the portal schedule the renewals that are due in the whole subscription'
complete -c certhook -n "__fish_certhook_needs_command" -f -a "history" -d 'What happened, oldest first'
complete -c certhook -n "__fish_certhook_needs_command" -f -a "verify" -d 'Shake hands now: the certificates on disk against those on the wire'
complete -c certhook -n "__fish_certhook_needs_command" -f -a "list" -d 'The portal\'s certificates beside what this host has (one request)'
complete -c certhook -n "__fish_certhook_needs_command" -f -a "fetch" -d 'Download what the portal has and this host lacks, in the layout of the portal\'s own client'
complete -c certhook -n "__fish_certhook_needs_command" -f -a "service" -d 'Make or remove the Windows service, or protect a password for it; elsewhere the package brings a service'
complete -c certhook -n "__fish_certhook_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c certhook -n "__fish_certhook_using_subcommand run" -l config -d 'The configuration file' -r -F
complete -c certhook -n "__fish_certhook_using_subcommand run" -l log-level -d 'How much is logged' -r -f -a "error\t'What certhook cannot do its work with'
warn\t'What somebody should look at'
info\t'Every change of a site\'s state'
debug\t'Every decision'
trace\t'Every event and action'"
complete -c certhook -n "__fish_certhook_using_subcommand run" -l log-format -d 'How log lines look; under systemd they go to the journal with their fields unless this is said' -r -f -a "text\t'For people'
json\t'One JSON object a line'"
complete -c certhook -n "__fish_certhook_using_subcommand run" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c certhook -n "__fish_certhook_using_subcommand sync" -l wait -d 'How long to wait for the outcome; 60s, if it is not said' -r
complete -c certhook -n "__fish_certhook_using_subcommand sync" -l config -d 'The configuration file' -r -F
complete -c certhook -n "__fish_certhook_using_subcommand sync" -l log-level -d 'How much is logged' -r -f -a "error\t'What certhook cannot do its work with'
warn\t'What somebody should look at'
info\t'Every change of a site\'s state'
debug\t'Every decision'
trace\t'Every event and action'"
complete -c certhook -n "__fish_certhook_using_subcommand sync" -l log-format -d 'How log lines look; under systemd they go to the journal with their fields unless this is said' -r -f -a "text\t'For people'
json\t'One JSON object a line'"
complete -c certhook -n "__fish_certhook_using_subcommand sync" -l retry -d 'Send reports again that the portal has refused'
complete -c certhook -n "__fish_certhook_using_subcommand sync" -l reloaded -d 'Said by whatever has just reloaded the server: a running agent asks the wire, and passes over its own reloads'
complete -c certhook -n "__fish_certhook_using_subcommand sync" -l json -d 'Print the outcome as `status --json` does'
complete -c certhook -n "__fish_certhook_using_subcommand sync" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c certhook -n "__fish_certhook_using_subcommand check" -l config -d 'The configuration file' -r -F
complete -c certhook -n "__fish_certhook_using_subcommand check" -l log-level -d 'How much is logged' -r -f -a "error\t'What certhook cannot do its work with'
warn\t'What somebody should look at'
info\t'Every change of a site\'s state'
debug\t'Every decision'
trace\t'Every event and action'"
complete -c certhook -n "__fish_certhook_using_subcommand check" -l log-format -d 'How log lines look; under systemd they go to the journal with their fields unless this is said' -r -f -a "text\t'For people'
json\t'One JSON object a line'"
complete -c certhook -n "__fish_certhook_using_subcommand check" -l online -d 'Also ask the login service for a token and the portal for its list (one request)'
complete -c certhook -n "__fish_certhook_using_subcommand check" -l config-only -d 'Read the configuration and nothing else: 0 if it is good, 1 if nothing is configured yet, 2 if it is wrong'
complete -c certhook -n "__fish_certhook_using_subcommand check" -l json -d 'As a JSON array'
complete -c certhook -n "__fish_certhook_using_subcommand check" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c certhook -n "__fish_certhook_using_subcommand discover" -l config -d 'The configuration file' -r -F
complete -c certhook -n "__fish_certhook_using_subcommand discover" -l log-level -d 'How much is logged' -r -f -a "error\t'What certhook cannot do its work with'
warn\t'What somebody should look at'
info\t'Every change of a site\'s state'
debug\t'Every decision'
trace\t'Every event and action'"
complete -c certhook -n "__fish_certhook_using_subcommand discover" -l log-format -d 'How log lines look; under systemd they go to the journal with their fields unless this is said' -r -f -a "text\t'For people'
json\t'One JSON object a line'"
complete -c certhook -n "__fish_certhook_using_subcommand discover" -l stage -d 'Also print the lines that make nginx read copies which certhook publishes whole (see `stage`)'
complete -c certhook -n "__fish_certhook_using_subcommand discover" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c certhook -n "__fish_certhook_using_subcommand status" -l config -d 'The configuration file' -r -F
complete -c certhook -n "__fish_certhook_using_subcommand status" -l log-level -d 'How much is logged' -r -f -a "error\t'What certhook cannot do its work with'
warn\t'What somebody should look at'
info\t'Every change of a site\'s state'
debug\t'Every decision'
trace\t'Every event and action'"
complete -c certhook -n "__fish_certhook_using_subcommand status" -l log-format -d 'How log lines look; under systemd they go to the journal with their fields unless this is said' -r -f -a "text\t'For people'
json\t'One JSON object a line'"
complete -c certhook -n "__fish_certhook_using_subcommand status" -l json -d 'As JSON'
complete -c certhook -n "__fish_certhook_using_subcommand status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c certhook -n "__fish_certhook_using_subcommand renew" -l wait -d 'Wait so long until what was scheduled is renewed; the portal is asked at most four times' -r
complete -c certhook -n "__fish_certhook_using_subcommand renew" -l config -d 'The configuration file' -r -F
complete -c certhook -n "__fish_certhook_using_subcommand renew" -l log-level -d 'How much is logged' -r -f -a "error\t'What certhook cannot do its work with'
warn\t'What somebody should look at'
info\t'Every change of a site\'s state'
debug\t'Every decision'
trace\t'Every event and action'"
complete -c certhook -n "__fish_certhook_using_subcommand renew" -l log-format -d 'How log lines look; under systemd they go to the journal with their fields unless this is said' -r -f -a "text\t'For people'
json\t'One JSON object a line'"
complete -c certhook -n "__fish_certhook_using_subcommand renew" -l key-vault -d 'Also renew certificates in Azure Key Vault, with a token for it from the same credentials'
complete -c certhook -n "__fish_certhook_using_subcommand renew" -l json -d 'As JSON'
complete -c certhook -n "__fish_certhook_using_subcommand renew" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c certhook -n "__fish_certhook_using_subcommand history" -l site -d 'Of this site only: its name, or its certificate\'s path' -r
complete -c certhook -n "__fish_certhook_using_subcommand history" -l config -d 'The configuration file' -r -F
complete -c certhook -n "__fish_certhook_using_subcommand history" -l log-level -d 'How much is logged' -r -f -a "error\t'What certhook cannot do its work with'
warn\t'What somebody should look at'
info\t'Every change of a site\'s state'
debug\t'Every decision'
trace\t'Every event and action'"
complete -c certhook -n "__fish_certhook_using_subcommand history" -l log-format -d 'How log lines look; under systemd they go to the journal with their fields unless this is said' -r -f -a "text\t'For people'
json\t'One JSON object a line'"
complete -c certhook -n "__fish_certhook_using_subcommand history" -l json -d 'As a JSON array'
complete -c certhook -n "__fish_certhook_using_subcommand history" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c certhook -n "__fish_certhook_using_subcommand verify" -l config -d 'The configuration file' -r -F
complete -c certhook -n "__fish_certhook_using_subcommand verify" -l log-level -d 'How much is logged' -r -f -a "error\t'What certhook cannot do its work with'
warn\t'What somebody should look at'
info\t'Every change of a site\'s state'
debug\t'Every decision'
trace\t'Every event and action'"
complete -c certhook -n "__fish_certhook_using_subcommand verify" -l log-format -d 'How log lines look; under systemd they go to the journal with their fields unless this is said' -r -f -a "text\t'For people'
json\t'One JSON object a line'"
complete -c certhook -n "__fish_certhook_using_subcommand verify" -l json -d 'As a JSON array'
complete -c certhook -n "__fish_certhook_using_subcommand verify" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c certhook -n "__fish_certhook_using_subcommand list" -l config -d 'The configuration file' -r -F
complete -c certhook -n "__fish_certhook_using_subcommand list" -l log-level -d 'How much is logged' -r -f -a "error\t'What certhook cannot do its work with'
warn\t'What somebody should look at'
info\t'Every change of a site\'s state'
debug\t'Every decision'
trace\t'Every event and action'"
complete -c certhook -n "__fish_certhook_using_subcommand list" -l log-format -d 'How log lines look; under systemd they go to the journal with their fields unless this is said' -r -f -a "text\t'For people'
json\t'One JSON object a line'"
complete -c certhook -n "__fish_certhook_using_subcommand list" -l json -d 'As a JSON array'
complete -c certhook -n "__fish_certhook_using_subcommand list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c certhook -n "__fish_certhook_using_subcommand fetch" -l into -d 'The folder of the certificates\' folders [default: fetch_into of the configuration, or /etc/ssl/rclcertbot]' -r -F
complete -c certhook -n "__fish_certhook_using_subcommand fetch" -l format -d 'Which files' -r -f -a "pem\t'Key, leaf, chain and full chain, for nginx and its like'
pfx\t'One file with a password, for IIS and its like'
all\t'Both'"
complete -c certhook -n "__fish_certhook_using_subcommand fetch" -l config -d 'The configuration file' -r -F
complete -c certhook -n "__fish_certhook_using_subcommand fetch" -l log-level -d 'How much is logged' -r -f -a "error\t'What certhook cannot do its work with'
warn\t'What somebody should look at'
info\t'Every change of a site\'s state'
debug\t'Every decision'
trace\t'Every event and action'"
complete -c certhook -n "__fish_certhook_using_subcommand fetch" -l log-format -d 'How log lines look; under systemd they go to the journal with their fields unless this is said' -r -f -a "text\t'For people'
json\t'One JSON object a line'"
complete -c certhook -n "__fish_certhook_using_subcommand fetch" -l json -d 'As a JSON array'
complete -c certhook -n "__fish_certhook_using_subcommand fetch" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c certhook -n "__fish_certhook_using_subcommand service; and not __fish_seen_subcommand_from install uninstall protect help" -l config -d 'The configuration file' -r -F
complete -c certhook -n "__fish_certhook_using_subcommand service; and not __fish_seen_subcommand_from install uninstall protect help" -l log-level -d 'How much is logged' -r -f -a "error\t'What certhook cannot do its work with'
warn\t'What somebody should look at'
info\t'Every change of a site\'s state'
debug\t'Every decision'
trace\t'Every event and action'"
complete -c certhook -n "__fish_certhook_using_subcommand service; and not __fish_seen_subcommand_from install uninstall protect help" -l log-format -d 'How log lines look; under systemd they go to the journal with their fields unless this is said' -r -f -a "text\t'For people'
json\t'One JSON object a line'"
complete -c certhook -n "__fish_certhook_using_subcommand service; and not __fish_seen_subcommand_from install uninstall protect help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c certhook -n "__fish_certhook_using_subcommand service; and not __fish_seen_subcommand_from install uninstall protect help" -f -a "install" -d 'Make the service, or mend it: started with the system, and anew after a failure'
complete -c certhook -n "__fish_certhook_using_subcommand service; and not __fish_seen_subcommand_from install uninstall protect help" -f -a "uninstall" -d 'Stop and remove the service; configuration and ledger stay'
complete -c certhook -n "__fish_certhook_using_subcommand service; and not __fish_seen_subcommand_from install uninstall protect help" -f -a "protect" -d 'Write a password, or the client secret, that this machine alone can read (DPAPI)'
complete -c certhook -n "__fish_certhook_using_subcommand service; and not __fish_seen_subcommand_from install uninstall protect help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c certhook -n "__fish_certhook_using_subcommand service; and __fish_seen_subcommand_from install" -l config -d 'The configuration file' -r -F
complete -c certhook -n "__fish_certhook_using_subcommand service; and __fish_seen_subcommand_from install" -l log-level -d 'How much is logged' -r -f -a "error\t'What certhook cannot do its work with'
warn\t'What somebody should look at'
info\t'Every change of a site\'s state'
debug\t'Every decision'
trace\t'Every event and action'"
complete -c certhook -n "__fish_certhook_using_subcommand service; and __fish_seen_subcommand_from install" -l log-format -d 'How log lines look; under systemd they go to the journal with their fields unless this is said' -r -f -a "text\t'For people'
json\t'One JSON object a line'"
complete -c certhook -n "__fish_certhook_using_subcommand service; and __fish_seen_subcommand_from install" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c certhook -n "__fish_certhook_using_subcommand service; and __fish_seen_subcommand_from uninstall" -l config -d 'The configuration file' -r -F
complete -c certhook -n "__fish_certhook_using_subcommand service; and __fish_seen_subcommand_from uninstall" -l log-level -d 'How much is logged' -r -f -a "error\t'What certhook cannot do its work with'
warn\t'What somebody should look at'
info\t'Every change of a site\'s state'
debug\t'Every decision'
trace\t'Every event and action'"
complete -c certhook -n "__fish_certhook_using_subcommand service; and __fish_seen_subcommand_from uninstall" -l log-format -d 'How log lines look; under systemd they go to the journal with their fields unless this is said' -r -f -a "text\t'For people'
json\t'One JSON object a line'"
complete -c certhook -n "__fish_certhook_using_subcommand service; and __fish_seen_subcommand_from uninstall" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c certhook -n "__fish_certhook_using_subcommand service; and __fish_seen_subcommand_from protect" -l config -d 'The configuration file' -r -F
complete -c certhook -n "__fish_certhook_using_subcommand service; and __fish_seen_subcommand_from protect" -l log-level -d 'How much is logged' -r -f -a "error\t'What certhook cannot do its work with'
warn\t'What somebody should look at'
info\t'Every change of a site\'s state'
debug\t'Every decision'
trace\t'Every event and action'"
complete -c certhook -n "__fish_certhook_using_subcommand service; and __fish_seen_subcommand_from protect" -l log-format -d 'How log lines look; under systemd they go to the journal with their fields unless this is said' -r -f -a "text\t'For people'
json\t'One JSON object a line'"
complete -c certhook -n "__fish_certhook_using_subcommand service; and __fish_seen_subcommand_from protect" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c certhook -n "__fish_certhook_using_subcommand service; and __fish_seen_subcommand_from help" -f -a "install" -d 'Make the service, or mend it: started with the system, and anew after a failure'
complete -c certhook -n "__fish_certhook_using_subcommand service; and __fish_seen_subcommand_from help" -f -a "uninstall" -d 'Stop and remove the service; configuration and ledger stay'
complete -c certhook -n "__fish_certhook_using_subcommand service; and __fish_seen_subcommand_from help" -f -a "protect" -d 'Write a password, or the client secret, that this machine alone can read (DPAPI)'
complete -c certhook -n "__fish_certhook_using_subcommand service; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c certhook -n "__fish_certhook_using_subcommand help; and not __fish_seen_subcommand_from run sync check discover status renew history verify list fetch service help" -f -a "run" -d 'Run the agent in the foreground (what the service starts)'
complete -c certhook -n "__fish_certhook_using_subcommand help; and not __fish_seen_subcommand_from run sync check discover status renew history verify list fetch service help" -f -a "sync" -d 'One pass now: inspect, reload, verify, report. For hooks and cron'
complete -c certhook -n "__fish_certhook_using_subcommand help; and not __fish_seen_subcommand_from run sync check discover status renew history verify list fetch service help" -f -a "check" -d 'Name every problem of the configuration and the host, each with its remedy'
complete -c certhook -n "__fish_certhook_using_subcommand help; and not __fish_seen_subcommand_from run sync check discover status renew history verify list fetch service help" -f -a "discover" -d 'Print what the servers have as configuration'
complete -c certhook -n "__fish_certhook_using_subcommand help; and not __fish_seen_subcommand_from run sync check discover status renew history verify list fetch service help" -f -a "status" -d 'One line a site: its certificate, whether it is served and reported, what is wrong'
complete -c certhook -n "__fish_certhook_using_subcommand help; and not __fish_seen_subcommand_from run sync check discover status renew history verify list fetch service help" -f -a "renew" -d 'Have the portal schedule the renewals that are due in the whole subscription'
complete -c certhook -n "__fish_certhook_using_subcommand help; and not __fish_seen_subcommand_from run sync check discover status renew history verify list fetch service help" -f -a "history" -d 'What happened, oldest first'
complete -c certhook -n "__fish_certhook_using_subcommand help; and not __fish_seen_subcommand_from run sync check discover status renew history verify list fetch service help" -f -a "verify" -d 'Shake hands now: the certificates on disk against those on the wire'
complete -c certhook -n "__fish_certhook_using_subcommand help; and not __fish_seen_subcommand_from run sync check discover status renew history verify list fetch service help" -f -a "list" -d 'The portal\'s certificates beside what this host has (one request)'
complete -c certhook -n "__fish_certhook_using_subcommand help; and not __fish_seen_subcommand_from run sync check discover status renew history verify list fetch service help" -f -a "fetch" -d 'Download what the portal has and this host lacks, in the layout of the portal\'s own client'
complete -c certhook -n "__fish_certhook_using_subcommand help; and not __fish_seen_subcommand_from run sync check discover status renew history verify list fetch service help" -f -a "service" -d 'Make or remove the Windows service, or protect a password for it; elsewhere the package brings a service'
complete -c certhook -n "__fish_certhook_using_subcommand help; and not __fish_seen_subcommand_from run sync check discover status renew history verify list fetch service help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c certhook -n "__fish_certhook_using_subcommand help; and __fish_seen_subcommand_from service" -f -a "install" -d 'Make the service, or mend it: started with the system, and anew after a failure'
complete -c certhook -n "__fish_certhook_using_subcommand help; and __fish_seen_subcommand_from service" -f -a "uninstall" -d 'Stop and remove the service; configuration and ledger stay'
complete -c certhook -n "__fish_certhook_using_subcommand help; and __fish_seen_subcommand_from service" -f -a "protect" -d 'Write a password, or the client secret, that this machine alone can read (DPAPI)'
