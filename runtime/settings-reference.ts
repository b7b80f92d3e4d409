/** `commands`: those that people run, such as `cvm devices`. `cvm up` is broker, worker and console in one. */
export type SettingReader = 'broker' | 'worker' | 'console' | 'commands' | 'stand-in' | 'compose';

export type SettingEntry = {
  readonly name: string;
  /** one sentence for a person who sets it for the first time */
  readonly meaning: string;
  readonly readBy: readonly SettingReader[];
  /** what else there is to know: limits, where it is not enough, what compose needs for it */
  readonly more?: string;
  /** what holds where it is not set and the code has no value to give: in words */
  readonly unset?: string;
  /** the value in `.env.example`, where it is not the default */
  readonly example?: string;
  /** in `.env.example` it is set, not a comment */
  readonly isSet?: true;
};

export type SettingGroup = {
  readonly title: string;
  readonly about?: string;
  readonly settings: readonly SettingEntry[];
};

const all = ['broker', 'worker', 'console', 'commands'] as const;
const aws = ['worker', 'console', 'commands'] as const;
const gateway = ['broker', 'worker', 'console'] as const;

/**
 * What each setting means, in the order of docs/settings.md and `.env.example`, which are written from this (`npm run settings-reference`).
 * Forms and defaults are those of the schema in settings.ts.
 */
export const settingGroups: readonly SettingGroup[] = [
  {
    title: 'Which AWS',
    settings: [
      {
        name: 'COMPOSE_PROFILES',
        meaning: 'Which AWS compose works on: aws for your account, local-aws for the stand-in in a container.',
        more: 'In compose it alone decides. One of the two, not both. With Prometheus and Grafana: aws,monitoring.',
        readBy: ['compose'],
        example: 'aws',
        isSet: true,
      },
      {
        name: 'AWS_REGION',
        meaning: 'The AWS region of IoT Core and of the table.',
        readBy: aws,
        unset: 'the one of the AWS profile',
        example: 'eu-west-1',
      },
      {
        name: 'AWS_PROFILE',
        meaning: "A profile of the AWS CLI's files, for credentials.",
        more: "Credentials come from a profile, from keys or from a role alias; or from none of them, where the machine gives them by a role. From a container, EC2's instance role is reached only when the instance allows two hops: aws ec2 modify-instance-metadata-options --http-put-response-hop-limit 2 --instance-id …",
        readBy: aws,
      },
      {
        name: 'CVM_AWS_FOLDER',
        meaning: "The folder of the host with the AWS CLI's files, such as /home/you/.aws.",
        more: 'User 1000 must be able to read it.',
        readBy: ['compose'],
      },
      { name: 'AWS_ACCESS_KEY_ID', meaning: 'An access key of AWS, with AWS_SECRET_ACCESS_KEY.', readBy: aws },
      { name: 'AWS_SECRET_ACCESS_KEY', meaning: 'The secret of the access key AWS_ACCESS_KEY_ID.', readBy: aws },
      { name: 'AWS_SESSION_TOKEN', meaning: 'The session token that belongs to a temporary access key.', readBy: aws },
      {
        name: 'CVM_ROLE_ALIAS',
        meaning:
          'Credentials without any key of AWS: an IoT role alias, for which the gateway shows a certificate of its own.',
        more: '"cvm aws setup --gateway" makes both (docs/aws.md).',
        readBy: aws,
      },
      {
        name: 'CVM_ROLE_ALIAS_FOLDER',
        meaning:
          'A folder of the host for gateway.crt, gateway.key and gateway.json of CVM_ROLE_ALIAS, in place of the volume aws-gateway.',
        more: 'User 1000 must be able to write there: the certificate is replaced before it ends.',
        readBy: ['compose'],
      },
      {
        name: 'CVM_ROLE_ALIAS_ENDPOINT',
        meaning: "The host of the account's credentials provider, for CVM_ROLE_ALIAS.",
        readBy: aws,
        unset: 'the one that gateway.json names',
      },
      {
        name: 'AWS_ROLE_ARN',
        meaning: 'A role that is taken by a web identity token (AWS_WEB_IDENTITY_TOKEN_FILE).',
        readBy: aws,
      },
      { name: 'AWS_WEB_IDENTITY_TOKEN_FILE', meaning: 'The file with the web identity token.', readBy: aws },
      {
        name: 'AWS_CONTAINER_CREDENTIALS_FULL_URI',
        meaning: 'The address of a service that gives containers their credentials (ECS, EKS, IoT Greengrass).',
        readBy: aws,
      },
      {
        name: 'AWS_CONTAINER_CREDENTIALS_RELATIVE_URI',
        meaning: 'The path of the service that gives containers their credentials on ECS.',
        readBy: aws,
      },
      {
        name: 'AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE',
        meaning: 'The file with the token for the service of AWS_CONTAINER_CREDENTIALS_FULL_URI.',
        readBy: aws,
      },
      {
        name: 'AWS_ENDPOINT_URL_IOT',
        meaning: "An endpoint of IoT Core other than AWS's own: a VPC endpoint, or a stand-in.",
        more: 'With AWS_ENDPOINT_URL_DYNAMODB: both are of AWS, or none.',
        readBy: aws,
      },
      {
        name: 'AWS_ENDPOINT_URL_DYNAMODB',
        meaning: 'An endpoint of DynamoDB other than that of AWS, with AWS_ENDPOINT_URL_IOT.',
        readBy: aws,
      },
      {
        name: 'CVM_ROOT_CA',
        meaning: 'A PEM file that devices get instead of Amazon Root CA 1.',
        more: "With AWS it must be a root CA of Amazon's.",
        readBy: aws,
        unset: 'Amazon Root CA 1',
      },
      {
        name: 'HTTPS_PROXY',
        meaning: 'An HTTP proxy on the way to AWS, as in http://user:password@host:3128.',
        more: 'The name in lower case counts as well. Redis and this machine are reached directly. The CA of a proxy that inspects TLS: name its PEM file in NODE_EXTRA_CA_CERTS.',
        readBy: aws,
      },
      {
        name: 'HTTP_PROXY',
        meaning: 'An HTTP proxy for addresses of AWS that begin with http://, which only tests have.',
        readBy: aws,
      },
      {
        name: 'NO_PROXY',
        meaning: 'The hosts, domains and networks that are reached without the proxy: example.com,10.0.0.0/8.',
        readBy: aws,
      },
      {
        name: 'NODE_EXTRA_CA_CERTS',
        meaning: 'A PEM file with further CAs to trust: of a private Redis, or of a proxy that inspects TLS.',
        more: 'Node.js reads it at its start: outside compose it belongs into the environment. In compose the parts see the folder CVM_CA_FOLDER as /ca, so NODE_EXTRA_CA_CERTS=/ca/ca.pem.',
        readBy: all,
      },
      {
        name: 'CVM_CA_FOLDER',
        meaning: 'The folder of the host that the containers see as /ca.',
        more: 'User 1000 must be able to read it.',
        readBy: ['compose'],
      },
    ],
  },
  {
    title: 'Gateway',
    settings: [
      {
        name: 'CVM_HOSTNAMES',
        meaning:
          "Names and addresses that devices use for this gateway, beyond the machine's own; the server certificate holds them.",
        more: "The machine's own are its host name, unless it is a container's id, and its addresses, but those of bridges to containers (docker0).",
        readBy: ['broker', 'console'],
        example: 'localhost',
        isSet: true,
      },
      {
        name: 'CVM_MQTT_PORT',
        meaning: 'The MQTT port for devices.',
        more: 'In compose also a range, 8883-8884, of which each broker takes one: up --scale broker=2.',
        readBy: ['broker'],
        isSet: true,
      },
      {
        name: 'CVM_NEW_SITE',
        meaning: '1: a gateway that is new starts although its table knows others.',
        more: 'Set it once, for a further gateway or in place of one that is lost, and unset it again: without it the loss of the data folder is an error at start (docs/restoring.md).',
        readBy: ['broker'],
      },
      {
        name: 'CVM_SITE',
        meaning:
          'The site that this gateway serves, such as plant-7: it vends for the devices of that site, and for those that have none.',
        more: 'It reads only those. The index of the table is needed for it: cvm aws setup adds it (docs/sites.md).',
        readBy: all,
        unset: 'for devices without a site',
      },
      {
        name: 'CVM_TLS_CERT',
        meaning: "Your own server certificate, a PEM file, instead of one from the site's own CA.",
        more: 'Together with CVM_TLS_KEY. In compose the container sees the folder CVM_TLS_FOLDER as /tls, so CVM_TLS_CERT=/tls/server.crt and CVM_TLS_KEY=/tls/server.key.',
        readBy: ['broker', 'console'],
      },
      {
        name: 'CVM_TLS_KEY',
        meaning: 'The private key of CVM_TLS_CERT, a PEM file.',
        more: "It is refused when all users can read it: mode 600, or 640 (400, 440) when its group is the program's, as with Kubernetes' fsGroup.",
        readBy: ['broker', 'console'],
      },
      {
        name: 'CVM_TLS_FOLDER',
        meaning: 'The folder of the host with CVM_TLS_CERT and CVM_TLS_KEY.',
        more: 'User 1000 must be able to read them.',
        readBy: ['compose'],
      },
      {
        name: 'CVM_MAX_CONNECTIONS',
        meaning: 'Connections of devices at the broker, in total.',
        more: 'Each takes a file descriptor and memory. The log says when there is no slot.',
        readBy: ['broker'],
      },
      {
        name: 'CVM_MAX_CONNECTIONS_PER_ADDRESS',
        meaning: 'Connections of devices that come from one address.',
        more: "Raise it where many devices come from one address, as behind a router with NAT or a TCP balancer, and in compose where devices use IPv6 or the engine is rootless: the engine's own address stands for them.",
        readBy: ['broker'],
      },
      {
        name: 'CVM_PROXY_FROM',
        meaning:
          'Addresses or networks of TCP balancers that send PROXY protocol version 2: 10.0.0.7,10.1.0.0/24 (HAProxy: send-proxy-v2).',
        more: "A connection from there must begin with that header, and the device's address in it counts for limits, log and audit trail. From any other address no header is taken. Name balancers only: a host that may send the header can claim any address.",
        readBy: ['broker'],
      },
      {
        name: 'CVM_TLS_KEY_TYPE',
        meaning:
          "The kind of certificate that the site's own CA signs: ec (P-256), rsa (RSA-2048, for firmware without elliptic curves), or both.",
        more: "both: each by the client's offer, P-256 where it can do both. Each kind has a CA of its own, which its devices need: site-ca.crt, site-ca-rsa.crt. A change makes what is missing and keeps the files of the other kind.",
        readBy: ['broker'],
      },
      {
        name: 'CVM_TLS_SUITES',
        meaning: 'Cipher suites of TLS 1.2: modern, or old for firmware that has nothing better.',
        more: 'old: CBC as well, and RSA key exchange where the certificate is RSA.',
        readBy: ['broker'],
      },
      {
        name: 'CVM_CLAIMS',
        meaning:
          '1: a claim certificate, which a group of devices shares, may stand for a device in AWS IoT Fleet Provisioning.',
        more: 'Clients are then asked for a certificate (docs/fleet-provisioning.md).',
        readBy: ['broker'],
      },
      {
        name: 'CVM_CLAIMS_CA',
        meaning: 'The CA that signs claim certificates, a PEM file.',
        more: 'In compose the broker sees the folder CVM_CA_FOLDER as /ca, so CVM_CLAIMS_CA=/ca/claims.pem.',
        readBy: ['broker'],
        unset: 'the site CA',
      },
      {
        name: 'CVM_BROKER_PROCESSES',
        meaning: 'Broker processes that share the port, for a machine with more cores (docs/operations.md).',
        more: 'Outside compose: cvm broker --processes N.',
        readBy: ['compose'],
        example: '1',
      },
      {
        name: 'REDIS_URL',
        meaning:
          'Redis, with password and TLS if it has them: rediss://:password@host:6379/0 (0: the number of the database).',
        more: 'Characters such as # / ? % @ of a password are written %23 %2F %3F %25 %40; CVM_REDIS_PASSWORD_FILE takes it as it is. By Sentinel: redis+sentinel://:password@host:26379,host2:26379/name-of-the-master/0. By Cluster: redis+cluster://:password@host:6379,host2:6379. rediss+… for TLS to all of them. docs/operations.md says when to take which. When a private CA signed its certificate, name the PEM file of that CA in NODE_EXTRA_CA_CERTS.',
        readBy: all,
        unset: '"cvm up" starts its own; the other parts need it',
        example: 'redis://redis:6379/0',
      },
      {
        name: 'CVM_REDIS_PASSWORD_FILE',
        meaning: 'A file with the password of Redis, for a REDIS_URL without one.',
        readBy: all,
        unset:
          'none; in compose the password that is made at the first start. To have another one there, remove the volume redis-password, and start again',
      },
      {
        name: 'CVM_REDIS_SENTINEL_PASSWORD_FILE',
        meaning: 'A file with the password of the Sentinels, which have one apart from that of Redis.',
        readBy: all,
        unset: 'none',
      },
      {
        name: 'CVM_REDIS_REPLICAS',
        meaning: 'How many replicas of Redis must have a request before the device gets its PUBACK: 0 to 10.',
        more: 'With 0, a failover may lose the latest requests; their devices ask again. With fewer replicas there than this, no request gets a PUBACK.',
        readBy: ['broker'],
      },
      {
        name: 'CVM_REDIS_REPLICAS_ON',
        meaning:
          'Where the replicas of CVM_REDIS_REPLICAS must have a request: memory (WAIT), or disk, on their append-only files (WAITAOF: Redis 7.2, Valkey 7.2 or newer).',
        readBy: ['broker'],
      },
      {
        name: 'CVM_REDIS_REPLICAS_WAIT',
        meaning: 'How long a request waits for the replicas of CVM_REDIS_REPLICAS, 10ms to 4s.',
        readBy: ['broker'],
      },
      {
        name: 'LOG_LEVEL',
        meaning: 'What the log has: trace, debug, info, warn, error, fatal or silent.',
        readBy: [...all, 'stand-in'],
        isSet: true,
      },
      {
        name: 'LOG_FORMAT',
        meaning: 'json: one JSON object a line. pretty: lines for people, the cure first.',
        readBy: [...all, 'stand-in'],
        unset: 'pretty at a terminal, json elsewhere',
        example: 'json',
      },
      {
        name: 'CVM_TRACES',
        meaning:
          "1: traces by OpenTelemetry, from a device's message to each call of AWS (docs/monitoring.md). 0: nothing of it is loaded.",
        readBy: gateway,
        isSet: true,
      },
      {
        name: 'OTEL_EXPORTER_OTLP_ENDPOINT',
        meaning: 'Where traces go (OTLP over HTTP).',
        more: 'The other standard variables, OTEL_…, hold as well outside compose.',
        readBy: gateway,
        unset: 'http://localhost:4318',
      },
      {
        name: 'OTEL_EXPORTER_OTLP_HEADERS',
        meaning: 'Headers of the requests by which traces are sent, as in: authorization=Bearer%20secret.',
        readBy: gateway,
        unset: 'none',
      },
      {
        name: 'OTEL_SERVICE_NAME',
        meaning: 'The name of this gateway in traces.',
        readBy: gateway,
        unset: 'cvm-broker, cvm-worker; of cvm up: cvm-gateway',
      },
      {
        name: 'CVM_CONSOLE_PORT',
        meaning: "The port of the operator's console (docs/console.md).",
        readBy: ['console'],
      },
      {
        name: 'CVM_CONSOLE_TRUSTED_HEADER',
        meaning: 'The header in which a reverse proxy, which signs the persons in (OIDC, say), names the person.',
        more: 'With CVM_CONSOLE_TRUSTED_FROM: the header counts from there only.',
        readBy: ['console'],
        unset: 'none; persons sign in with the password of the console',
      },
      {
        name: 'CVM_CONSOLE_TRUSTED_FROM',
        meaning: 'The addresses or networks of that reverse proxy.',
        readBy: ['console'],
      },
      {
        name: 'CVM_CONSOLE_OPERATORS',
        meaning:
          'The persons of CVM_CONSOLE_TRUSTED_HEADER that may decide, separated by spaces or commas; all others only look.',
        readBy: ['console'],
      },
      {
        name: 'CVM_METRICS_LISTEN',
        meaning: 'The address of metrics (/metrics) and health (/healthz, /readyz).',
        more: 'Only this machine reaches it, unless it is another one; then CVM_METRICS_TOKEN_FILE is needed. docs/monitoring.md says more.',
        readBy: gateway,
        unset: '127.0.0.1; in compose 0.0.0.0, which is the network of its containers',
      },
      {
        name: 'CVM_BROKER_METRICS_PORT',
        meaning:
          'The port of metrics and health at the broker, and at "cvm up", which serves all of its parts there. "off": none.',
        readBy: ['broker'],
        unset: '9464',
        example: '9464',
      },
      {
        name: 'CVM_WORKER_METRICS_PORT',
        meaning: 'The port of metrics and health at a worker. "off": none.',
        readBy: ['worker'],
        unset: '9465',
        example: '9465',
      },
      {
        name: 'CVM_METRICS_TOKEN_FILE',
        meaning: 'A file with the token that Prometheus sends ("authorization: Bearer TOKEN"), 16 characters or more.',
        readBy: gateway,
        unset: 'none',
      },
      {
        name: 'CVM_IMAGE',
        meaning: 'The name of the image that compose builds and runs.',
        readBy: ['compose'],
        example: 'cvm-gateway',
      },
      {
        name: 'CVM_CPUS',
        meaning: 'The cores that each container may take.',
        readBy: ['compose'],
        example: '1',
      },
      {
        name: 'CVM_MEMORY',
        meaning: 'The memory that each container may take: 256m is the least.',
        more: 'Valkey or Redis takes half of its memory for data (docs/operations.md).',
        readBy: ['compose'],
        example: '512m',
      },
      {
        name: 'CVM_BROKER_CPUS',
        meaning: 'The cores that the broker may take.',
        readBy: ['compose'],
        example: '1',
      },
      {
        name: 'CVM_BROKER_MEMORY',
        meaning:
          'The memory that the broker may take: 100 MB for each of CVM_BROKER_PROCESSES, and 36 KB for each of CVM_MAX_CONNECTIONS.',
        readBy: ['compose'],
        example: '768m',
      },
      {
        name: 'CVM_REDIS_IMAGE',
        meaning: 'The image of Valkey, or of Redis: redis:7-bookworm (docs/operations.md).',
        readBy: ['compose'],
        example: 'valkey/valkey:8-bookworm',
      },
      {
        name: 'CVM_PROMETHEUS_IMAGE',
        meaning: 'The image of Prometheus, with the profile monitoring.',
        readBy: ['compose'],
        example: 'prom/prometheus:v3.5.0',
      },
      {
        name: 'CVM_GRAFANA_IMAGE',
        meaning: 'The image of Grafana, with the profile monitoring.',
        readBy: ['compose'],
        example: 'grafana/grafana:12.1.1',
      },
      {
        name: 'CVM_GRAFANA_PORT',
        meaning:
          'The port of Grafana, with the profile monitoring; only this machine reaches it, unless another address is named.',
        readBy: ['compose'],
        example: '127.0.0.1:3000',
      },
      {
        name: 'CVM_REVISION',
        meaning: 'The commit that the image is built from, which `cvm --version` and a label of the image say.',
        readBy: ['compose'],
      },
    ],
  },
  {
    title: 'Vending',
    settings: [
      { name: 'CVM_TABLE', meaning: 'The association table in DynamoDB.', readBy: aws, isSet: true },
      {
        name: 'CVM_POLICY_NAME',
        meaning: 'The IoT policy of devices whose row names no other.',
        readBy: aws,
        isSet: true,
      },
      {
        name: 'CVM_TEMPLATES_FOLDER',
        meaning:
          'The folder of the host with the provisioning templates of AWS IoT Fleet Provisioning, one NAME.json each.',
        more: 'User 1000 must be able to read it (docs/fleet-provisioning.md).',
        readBy: ['compose'],
      },
      {
        name: 'CVM_REPLAY_WINDOW',
        meaning: 'How long after its certificate was issued the same device gets the same reply again.',
        readBy: ['worker', 'commands'],
        isSet: true,
      },
      {
        name: 'CVM_SWEEP_INTERVAL',
        meaning: 'How often one of the workers compares the table with AWS IoT Core and repairs the traces of crashes.',
        readBy: ['worker', 'commands'],
        isSet: true,
      },
      {
        name: 'CVM_SWEEP_GRACE',
        meaning:
          'The sweep abandons no attempt, and judges no certificate, younger than this: a worker may still be busy with it.',
        readBy: ['worker', 'commands'],
        isSet: true,
      },
      {
        name: 'CVM_WORKER_CONCURRENCY',
        meaning: 'How many requests one worker works on at the same time.',
        more: "Those that wait for AWS's quotas count as well: with 64, ten devices a second are let through also where each takes six seconds.",
        readBy: ['worker'],
        isSet: true,
      },
      {
        name: 'CVM_QUOTAS',
        meaning:
          'Calls a second that the AWS account may make, where AWS has raised them: UpdateCertificate=20,CreateCertificateFromCsr=30.',
        more: '"default": AWS\'s defaults. "off": no limit at all, for load tests. docs/quotas.md says which calls count, and how to read and raise their quotas.',
        readBy: aws,
        isSet: true,
      },
    ],
  },
  {
    title: 'The AWS stand-in',
    settings: [
      {
        name: 'CVM_AWS_LOCAL_HTTP_PORT',
        meaning: 'The port of the stand-in for the IoT and DynamoDB APIs.',
        readBy: ['stand-in'],
        isSet: true,
      },
      {
        name: 'CVM_AWS_LOCAL_MQTT_PORT',
        meaning: 'The port of the stand-in for devices with a certificate.',
        readBy: ['stand-in'],
        isSet: true,
      },
      {
        name: 'CVM_AWS_LOCAL_QUOTAS',
        meaning:
          'The quotas of the stand-in: "default", as of AWS; "off": none, for load tests; or some of them in the form of CVM_QUOTAS.',
        readBy: ['stand-in'],
        isSet: true,
      },
      {
        name: 'CVM_AWS_LOCAL_KEY_POOL',
        meaning: 'RSA key pairs that the stand-in makes in advance, for load tests: each costs 50 to 100 ms of CPU.',
        more: '/_local/health says how many are made ("keyPairs").',
        readBy: ['stand-in'],
        isSet: true,
      },
    ],
  },
  {
    title: 'Only outside compose',
    about:
      'Compose passes none of these on: its containers listen on all of their addresses, and have volumes for these folders.',
    settings: [
      { name: 'CVM_LISTEN', meaning: 'The address that broker and console listen on.', readBy: ['broker', 'console'] },
      { name: 'CVM_DATA_DIR', meaning: 'The folder of everything that must survive a restart.', readBy: all },
      {
        name: 'CVM_AUDIT_DIR',
        meaning: 'The folder of the audit trail: one file a month; `cvm audit verify` checks it.',
        readBy: all,
        unset: 'audit in the data folder',
      },
      {
        name: 'CVM_BACKUP_PASSPHRASE',
        meaning:
          'The passphrase that seals a backup, for cvm backup and cvm restore without a terminal; 12 characters or more.',
        more: 'Set it for that command alone: what is set in .env is on this machine, and no backup should be opened by what lies beside it.',
        readBy: ['commands'],
        unset: 'it is asked for, or --passphrase-file names a file',
      },
      {
        name: 'CVM_HEALTH_DIR',
        meaning:
          'The folder of the files by which broker and worker say every five seconds how they are, for `cvm health`.',
        more: 'Best in memory (tmpfs).',
        readBy: gateway,
        unset: 'the data folder',
      },
      {
        name: 'CVM_TEMPLATES_DIR',
        meaning: 'The folder of the provisioning templates of AWS IoT Fleet Provisioning, one NAME.json each.',
        readBy: ['worker', 'commands'],
        unset: 'templates in the data folder',
      },
      {
        name: 'CVM_LOG_FILE',
        meaning: 'The file that a service (broker, worker, console, up) writes its log to, instead of standard error.',
        more: 'SIGHUP opens it anew, so that logrotate can take it away; without a file, SIGHUP ends the service.',
        readBy: gateway,
        unset: 'none',
      },
      {
        name: 'CVM_ROLE_ALIAS_CERT',
        meaning: "The gateway's own certificate for CVM_ROLE_ALIAS, a PEM file; together with CVM_ROLE_ALIAS_KEY.",
        readBy: aws,
        unset: 'aws-gateway/gateway.crt in the data folder',
      },
      {
        name: 'CVM_ROLE_ALIAS_KEY',
        meaning: 'The private key of CVM_ROLE_ALIAS_CERT, a PEM file.',
        readBy: aws,
        unset: 'aws-gateway/gateway.key in the data folder',
      },
    ],
  },
];

const entries = new Map(settingGroups.flatMap(({ settings }) => settings.map((entry) => [entry.name, entry])));

/** What a setting is for, in one sentence; undefined for a name that is no setting. */
export const settingMeaning = (name: string): string | undefined => entries.get(name)?.meaning;
