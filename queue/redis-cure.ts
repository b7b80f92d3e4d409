/** By what Redis answers; a script passes such an answer on with words of its own around it. */
const cures: readonly (readonly [RegExp, string])[] = [
  [
    /no Sentinel names a master .*\b(NOAUTH|WRONGPASS|NOPERM|AUTH)\b/,
    'The Sentinels refuse: check that REDIS_URL has their ports (26379, say) and not those of Redis, and CVM_REDIS_SENTINEL_PASSWORD_FILE, whose password is theirs',
  ],
  [
    /\bNOPERM\b|ACL failure in script/,
    'The user of REDIS_URL may not do that in Redis: give it all commands, and the keys and channels of the gateway (ACL SETUSER name ~{cvm}:* &{cvm}:* +@all)',
  ],
  [
    /^(WRONGPASS|NOAUTH)\b|^ERR (invalid password|Client sent AUTH)/,
    'Redis refuses; check user and password in REDIS_URL, and CVM_REDIS_PASSWORD_FILE where the URL has no password',
  ],
  [
    /DB index is out of range|invalid DB index|SELECT is not allowed in cluster mode/i,
    'This Redis has no database of the number that ends REDIS_URL: correct the number (redis://host:6379/0), or raise "databases" in the configuration of Redis',
  ],
  [
    /\bREADONLY\b/,
    'This Redis is a replica and cannot be written: name its master in REDIS_URL, or make it one (REPLICAOF NO ONE)',
  ],
  [
    /\bOOM\b/,
    'The memory of Redis is full, so nothing can be stored: raise its maxmemory, or remove what others keep in it',
  ],
  [/\bMISCONF\b/, 'Redis cannot write to its disk, and takes no writes: free space there, and see its log'],
  [
    /\bNOREPLICAS\b/,
    'Redis has too few replicas to take writes (min-replicas-to-write): start them, or lower that number',
  ],
  [
    /Unknown RESP type|Protocol error, got "/,
    'What answers at this address is no Redis: correct host and port in REDIS_URL, or stop the other program that has the port',
  ],
  [
    /self-signed certificate|unable to (verify the first|get (local )?issuer) certificate/,
    'The certificate of Redis is not trusted here: name the file of its CA in the environment variable NODE_EXTRA_CA_CERTS',
  ],
  [
    /does not match certificate's altnames/,
    'The certificate of Redis is for another name: write a name of the certificate in REDIS_URL; by Sentinel or Cluster, the addresses that these announce must be in it as well',
  ],
  [
    /certificate (has expired|is not yet valid)/,
    'The certificate of Redis is not valid at the time of this machine: renew it, or set the clock',
  ],
  [
    /it has no master of this name/,
    'The Sentinels are there, and have another name for the master: write the one of their "sentinel monitor" in REDIS_URL',
  ],
  [
    /no Sentinel names a master/,
    'No Sentinel could be asked which server is the master: start them, or correct their addresses in REDIS_URL',
  ],
  [
    /no node of the Cluster names a master.*cluster support disabled/s,
    'This Redis is no Cluster: write redis:// instead of redis+cluster:// in REDIS_URL',
  ],
  [
    /no node of the Cluster names a master/,
    'Start the nodes of the Cluster, or correct their addresses in REDIS_URL; where they are up, see CLUSTER INFO',
  ],
  [
    /\bMOVED\b/,
    'This Redis is a node of a Cluster: write redis+cluster://host:6379,host2:6379 instead of redis:// in REDIS_URL',
  ],
  [
    /\bCLUSTERDOWN\b/,
    'The Cluster is down: more of its nodes are away than it can do without, or a slot has no node. Start them, and see CLUSTER INFO',
  ],
  [
    /replicas had a request within/,
    'Fewer replicas than CVM_REDIS_REPLICAS take what Redis stores, so no request gets a PUBACK: start them, or lower that number',
  ],
  [
    // a Sentinel knows none of the commands that store something, and neither does a server in which they are renamed
    /unknown command .?(set|del|eval|evalsha)\b/i,
    'The server of REDIS_URL lacks a command that every Redis has: where it is a Sentinel, write redis+sentinel://host:26379,host2:26379/name-of-the-master instead of redis://',
  ],
  [/^LOADING\b/, 'Redis reads its data after a start: wait'],
  [/Redis version needs to be|unknown command .?HELLO/i, 'This Redis is too old: use version 6.2 or newer'],
];

/** The cure where Redis is there, and refuses what we ask. */
export function redisCure({ message }: Error): string | undefined {
  return cures.find(([pattern]) => pattern.test(message))?.[1];
}
