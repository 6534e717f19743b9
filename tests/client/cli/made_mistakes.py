"""The mistakes of `mistakes.py`, one a line."""

from tests.client.cli.mistakes import SUBJECTS, Mistake, agent_away, expired, logged_out

REACH, LOG_IN, NAMES, VALUES, ADD, DELETE, HOST, NODE = SUBJECTS

LOGS_IN = "LogInByAccount accountName=admin"
ADDS = "bs-cli AddImageStoreBackupStorage name=new hostname=127.0.0.1"

MISTAKES = (
    Mistake(REACH, "https to a port that does not speak it", f"bs-cli --url https://{{node}} {LOGS_IN}", 3, "x\n"),
    Mistake(REACH, "http to a port that speaks TLS", f"bs-cli --url http://{{agent}} {LOGS_IN}", 3, "x\n"),
    Mistake(REACH, "a certificate of its own, not named", f"bs-cli --url https://{{agent}} {LOGS_IN}", 3, "x\n"),
    Mistake(
        REACH, "another certificate than the one that is shown",
        f"bs-cli --url https://{{agent}} --ca-file {{folder}}/node.pem {LOGS_IN}", 3, "x\n",
    ),
    Mistake(
        REACH, "a file of certificates that is not there",
        f"bs-cli --url https://{{agent}} --ca-file {{folder}}/none.pem {LOGS_IN}", 3, "x\n",
    ),
    Mistake(REACH, "a port where nobody listens", f"bs-cli --url http://{{closed}} {LOGS_IN}", 3, "x\n"),
    Mistake(REACH, "a name that is misspelt", f"bs-cli --url https://nowhere.invalid {LOGS_IN}", 3, "x\n"),
    Mistake(REACH, "plain http to another host", f"bs-cli --url http://mn.example:8080 {LOGS_IN}", 2),
    Mistake(REACH, "a path in the URL", f"bs-cli --url https://mn.example/zstack/v1 {LOGS_IN}", 2),
    Mistake(REACH, "no scheme in the URL", f"bs-cli --url mn.example {LOGS_IN}", 2),
    Mistake(LOG_IN, "a wrong password", f"bs-cli --url http://{{node}} {LOGS_IN}", 3, "wrong\n"),
    Mistake(LOG_IN, "no password", f"bs-cli --url http://{{node}} {LOGS_IN}", 2),
    Mistake(LOG_IN, "a password on the command line", f"bs-cli {LOGS_IN} password=hunter2", 2),
    Mistake(LOG_IN, "a command before the log-in", "bs-cli QueryBackupStorage", 2, around=logged_out),
    Mistake(LOG_IN, "a command after the session has expired", "bs-cli QueryBackupStorage", 3, around=expired),
    Mistake(NAMES, "a misspelt command", "bs-cli QueryBackupStorag", 2),
    Mistake(NAMES, "a misspelt verb", "bs-cli storages shwo images", 2),
    Mistake(NAMES, "a misspelt parameter", "bs-cli ReconnectBackupStorage uid=images", 2),
    Mistake(NAMES, "a uuid that is left out", "bs-cli UpdateAccount password=@{folder}/secret", 2),
    Mistake(NAMES, "parameters that are left out", "bs-cli AddImageStoreBackupStorage name=new", 2),
    Mistake(NAMES, "a misspelt name", "bs-cli ReconnectBackupStorage uuid=imags", 3),
    Mistake(NAMES, "a name that two storages have", "bs-cli storages reconnect twin", 2),
    Mistake(NAMES, "a sum of nothing", "bs-cli GetBackupStorageCapacity", 2),
    Mistake(VALUES, "a value that a field never has", "bs-cli storages status=Conected", 2),
    Mistake(VALUES, "a type by half of its name", "bs-cli storages type=ImageStore", 2),
    Mistake(VALUES, "a misspelt field", "bs-cli storages nam=images", 2),
    Mistake(VALUES, "a unit in a number", "bs-cli storages availableCapacity<1T", 2),
    Mistake(VALUES, "a date in words", "bs-cli storages createDate>yesterday", 2),
    Mistake(VALUES, "a name where a condition compares uuids", "bs-cli QueryBackupStorage uuid=images", 2),
    Mistake(VALUES, "no operator in a condition", "bs-cli storages status", 2),
    Mistake(ADD, "neither a code nor an SSH log-in", f"{ADDS} url={{data}}/images", 3),
    Mistake(ADD, "a code that was cut short", f"{ADDS} url={{data}}/images systemTags=@{{folder}}/cut", 2),
    Mistake(
        ADD, "a wrong SSH port",
        f"{ADDS} url={{data}}/images username=root sshPort={{port}} password=@{{folder}}/secret", 3,
    ),
    Mistake(ADD, "a directory that is not there", f"{ADDS} url={{data}}/none systemTags=@{{folder}}/code", 3),
    Mistake(ADD, "a path that is not absolute", f"{ADDS} url=images", 2),
    Mistake(ADD, "the code of an add that has failed", f"{ADDS} url={{data}}/new systemTags=@{{folder}}/code", 3),
    Mistake(ADD, "a directory that is a storage already", f"{ADDS} url={{data}}/images systemTags=@{{folder}}/new", 3),
    Mistake(DELETE, "a delete in a script", "bs-cli storages delete images", 2),
    Mistake(DELETE, "a delete while the host is away", "bs-cli DeleteBackupStorage uuid=images", 3, around=agent_away),
    Mistake(HOST, "a configuration that is not there", "bs-agent doctor --config {folder}/none.toml", 1),
    Mistake(HOST, "a misspelt key", "bs-agent check-config --config {folder}/typo.toml", 78),
    Mistake(HOST, "a file that is no TOML", "bs-agent check-config --config {folder}/torn.toml", 78),
    Mistake(HOST, "a wrong value on the command line", "bs-agent check-config --set probe.interval=often", 78),
    Mistake(
        HOST, "a port that is taken",
        "bs-agent run --set server.listen={node} --set state.directory={folder}/state", 1,
    ),
    Mistake(HOST, "a token that is not there", "bs-agent enrollments remove x --set state.directory={state}", 1),
    Mistake(NODE, "a configuration that is not there", "bs-management check-config --config {folder}/none.toml", 78),
    Mistake(NODE, "another address without TLS", "bs-management check-config --set server.listen=0.0.0.0:8080", 78),
    Mistake(
        NODE, "a PostgreSQL that does not run",
        "bs-management migrate --set database.url=postgresql://bs@{closed}/bs --set state.directory={folder}/node", 1,
    ),
)  # fmt: skip
