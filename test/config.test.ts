import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { ConfigError, type Environment, loadConfig, readConfig, SETTINGS } from '../src/config.ts';

const ENCRYPTION_KEY = 'AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8';

/** All that a replica needs. */
const CLUSTER = {
  MONGO_URI: 'mongodb://mongo:27017/?authSource=admin',
  REDIS_URL: 'redis://redis:6379/0',
  STATE_MANAGER_SECRET: 'k',
  SECRETS_ENCRYPTION_KEY: ENCRYPTION_KEY,
};

/** The lines of the error that these settings give; none when they are right. */
function faultsOf(environment: Environment, dotenvText?: string): readonly string[] {
  try {
    readConfig(environment, dotenvText);
    return [];
  } catch (error) {
    assert.ok(error instanceof ConfigError);
    assert.equal(error.message, error.lines.join('\n'));
    return error.lines;
  }
}

function makeFolder(context: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'state-manager-config-'));
  context.after(() => rmSync(folder, { recursive: true }));
  return folder;
}

describe('settings', () => {
  it('have a default each, except the keys', () => {
    assert.deepEqual(readConfig({}), {
      backend: 'embedded',
      host: '127.0.0.1',
      port: 8000,
      dataDir: './data',
      apiKeys: undefined,
      encryptionKeys: undefined,
      leaseSeconds: 3600,
      triggerRetentionHours: 720,
      corsOrigins: ['http://localhost:3000', 'http://127.0.0.1:3000', 'http://localhost:3001', 'http://127.0.0.1:3001'],
      trustProxy: [],
      logLevel: 'info',
      maxBodyBytes: 8 * 1024 * 1024,
      maxJsonDepth: 64,
      maxNames: 100_000,
      maxVertices: 1000,
      maxTriggers: 100,
      maxOutputs: 20_000,
      maxStatesPerCall: 100_000,
      maxCallLength: 67_108_864,
      maxNameLength: 255,
      maxValueLength: 2 * 1024 * 1024,
      maxBatchSize: 1000,
      maxConnections: 10_000,
      sweepSeconds: 5,
    });
  });

  it('are read', () => {
    const config = readConfig({
      HOST: '::1',
      PORT: '0',
      DATA_DIR: '/srv/state manager',
      STATE_MANAGER_SECRET: 'k',
      SECRETS_ENCRYPTION_KEY: `${ENCRYPTION_KEY}=`,
      LEASE_SECONDS: ' 0 ',
      CORS_ORIGINS: ' https://Example.org:443/, http://localhost:5173 ,',
      LOG_LEVEL: 'DEBUG',
      SWEEP_SECONDS: '0.25',
    });
    assert.equal(config.host, '::1');
    assert.equal(config.port, 0);
    assert.equal(config.backend === 'embedded' && config.dataDir, '/srv/state manager');
    assert.deepEqual(config.apiKeys, ['k']);
    assert.deepEqual(config.encryptionKeys, [`${ENCRYPTION_KEY}=`]);
    assert.equal(config.leaseSeconds, 0);
    assert.deepEqual(config.corsOrigins, ['https://example.org', 'http://localhost:5173']);
    assert.equal(config.logLevel, 'debug');
    assert.equal(config.sweepSeconds, 0.25);
  });

  it('take an encryption key in either alphabet, padded or not', () => {
    for (const key of [ENCRYPTION_KEY, `${ENCRYPTION_KEY}=`, `${'-_'.repeat(21)}A=`, `${'+/'.repeat(21)}A=`]) {
      assert.deepEqual(readConfig({ SECRETS_ENCRYPTION_KEY: `${key}\n` }).encryptionKeys, [key]);
    }
  });

  it('take several API keys, with spaces and empty places between them or without', () => {
    for (const text of ['new,old', 'new, old', 'new ,  old', ' new,old\n', 'new,old,', ',new,,old , ']) {
      assert.deepEqual(readConfig({ STATE_MANAGER_SECRET: text }).apiKeys, ['new', 'old'], text);
      assert.deepEqual(readConfig({ ...CLUSTER, STATE_MANAGER_SECRET: text }).apiKeys, ['new', 'old'], text);
    }
    assert.deepEqual(readConfig({}, 'STATE_MANAGER_SECRET=new, old').apiKeys, ['new', 'old']);
  });

  it('take proxies as addresses, networks and names', () => {
    const text = ' Loopback, 10.0.0.0/8,::ffff:192.0.2.1 ,::ffff:10.0.0.0/104,2001:DB8::/32,192.0.2.7/32, uniquelocal';
    assert.deepEqual(readConfig({ TRUST_PROXY: text }).trustProxy, [
      'loopback',
      '10.0.0.0/8',
      '::ffff:192.0.2.1',
      '::ffff:10.0.0.0/104',
      '2001:db8::/32',
      '192.0.2.7/32',
      'uniquelocal',
    ]);
  });

  it('take several encryption keys, in their order', () => {
    const [one, two, three] = [ENCRYPTION_KEY, `${'-_'.repeat(21)}A=`, `${'ab'.repeat(21)}A`];
    const { encryptionKeys } = readConfig({ SECRETS_ENCRYPTION_KEY: ` ${two},${one} ,\n${three}, ` });
    assert.deepEqual(encryptionKeys, [two, one, three]);
  });

  it('take the names that levels of logging have in Python', () => {
    assert.equal(readConfig({ LOG_LEVEL: 'WARNING' }).logLevel, 'warn');
    assert.equal(readConfig({ LOG_LEVEL: 'CRITICAL' }).logLevel, 'fatal');
  });

  it('count as not set when they are empty', () => {
    const empty = Object.fromEntries(SETTINGS.map(({ name }) => [name, '']));
    assert.deepEqual(readConfig(empty), readConfig({}));
    assert.equal(readConfig({ PORT: '' }, 'PORT=8001').port, 8001);
  });

  it('come from the environment before .env', () => {
    const config = readConfig({ PORT: '8001' }, '\uFEFFPORT=8002\nHOST=0.0.0.0\nSTATE_MANAGER_SECRET="a#b"\nOTHER=x');
    assert.equal(config.port, 8001);
    assert.equal(config.host, '0.0.0.0');
    assert.deepEqual(config.apiKeys, ['a#b']);
  });
});

describe('with MONGO_URI and REDIS_URL', () => {
  it('the settings are those of a replica, with a default for the names', () => {
    const { backend, ...shared } = readConfig(CLUSTER);
    assert.equal(backend, 'cluster');
    const { backend: _, dataDir: __, ...embedded } = { dataDir: '', ...readConfig({}) };
    assert.deepEqual(shared, {
      ...embedded,
      apiKeys: ['k'],
      encryptionKeys: [ENCRYPTION_KEY],
      mongoUri: CLUSTER.MONGO_URI,
      mongoDatabaseName: 'exosphere-state-manager',
      redisUrl: CLUSTER.REDIS_URL,
      queuePrefix: 'state-manager',
    });
  });

  it('the names are read', () => {
    const config = readConfig({ ...CLUSTER, MONGO_DATABASE_NAME: 'états_2-b', QUEUE_PREFIX: 'a.B_c-9' });
    assert.ok(config.backend === 'cluster');
    assert.deepEqual([config.mongoDatabaseName, config.queuePrefix], ['états_2-b', 'a.B_c-9']);
  });

  const uris = [
    'mongodb://localhost',
    'mongodb://localhost?directConnection=true',
    'mongodb://a:27017,b:27017,c:27017/?replicaSet=rs0&w=majority',
    'mongodb://user:p%40ss%2Fword@[::1]:27017/database?authSource=admin',
    'mongodb+srv://user:password@cluster.example.org/',
    'mongodb://%2Ftmp%2Fmongodb-27017.sock',
  ];
  for (const uri of uris) {
    it(`MONGO_URI can be ${uri}`, () => {
      const config = readConfig({ ...CLUSTER, MONGO_URI: ` ${uri}\n` });
      assert.equal(config.backend === 'cluster' && config.mongoUri, uri);
    });
  }

  for (const url of ['redis://localhost', 'redis://:password@[::1]:6380/15', 'rediss://user:p%23@example.org/']) {
    it(`REDIS_URL can be ${url}`, () => {
      const config = readConfig({ ...CLUSTER, REDIS_URL: ` ${url}\n` });
      assert.equal(config.backend === 'cluster' && config.redisUrl, url);
    });
  }

  it('one alone gives one line that says what to do', () => {
    const { MONGO_URI, REDIS_URL } = CLUSTER;
    assert.deepEqual(faultsOf({ MONGO_URI }), [
      'REDIS_URL is not set, but MONGO_URI is: set REDIS_URL too, or unset MONGO_URI to run embedded on SQLite',
    ]);
    assert.deepEqual(faultsOf({ MONGO_URI: '' }, `REDIS_URL=${REDIS_URL}`), [
      'MONGO_URI is not set, but REDIS_URL is: set MONGO_URI too, or unset REDIS_URL to run embedded on SQLite',
    ]);
  });

  it('each key that is missing gives a line that says how to make one', () => {
    const { STATE_MANAGER_SECRET: secret, SECRETS_ENCRYPTION_KEY: key, ...places } = CLUSTER;
    const forSecret =
      'STATE_MANAGER_SECRET is not set, but with MONGO_URI and REDIS_URL all replicas must share one: ' +
      'make it with "openssl rand -hex 32" and give it to each of them';
    const forKey =
      'SECRETS_ENCRYPTION_KEY is not set, but with MONGO_URI and REDIS_URL all replicas must share one: ' +
      'make it with "openssl rand -base64 32", give it to each of them, and keep a copy';
    assert.deepEqual(faultsOf(places), [forSecret, forKey]);
    assert.deepEqual(faultsOf({ ...places, SECRETS_ENCRYPTION_KEY: key }), [forSecret]);
    assert.deepEqual(faultsOf({ ...places, STATE_MANAGER_SECRET: secret }), [forKey]);
  });

  it('what is missing and what is wrong is told at once', () => {
    const faults = faultsOf({ PORT: 'x', REDIS_URL: 'http://redis', MONGO_URI: CLUSTER.MONGO_URI, LOG_LEVEL: 'loud' });
    assert.deepEqual(
      faults.map((line) => line.slice(0, line.indexOf(','))),
      [
        'PORT is "x"',
        'STATE_MANAGER_SECRET is not set',
        'SECRETS_ENCRYPTION_KEY is not set',
        'REDIS_URL is a value that is not shown',
        'LOG_LEVEL is "loud"',
      ],
    );
    const alone = faultsOf({ PORT: 'x', MONGO_URI: 'hidden' });
    assert.deepEqual(
      alone.map((line) => line.slice(0, line.indexOf(','))),
      ['PORT is "x"', 'MONGO_URI is a value that is not shown', 'REDIS_URL is not set'],
    );
  });

  it('a place that cannot be one is refused and never shown', () => {
    const bad: readonly [name: 'MONGO_URI' | 'REDIS_URL', value: string, form: string][] = [
      ['MONGO_URI', 'hidden', 'mongodb:// or mongodb+srv://'],
      ['MONGO_URI', 'mongodb://', 'mongodb:// or mongodb+srv://'],
      ['MONGO_URI', 'http://hidden', 'mongodb:// or mongodb+srv://'],
      ['MONGO_URI', 'mongodb://user:hid/den@host', 'mongodb:// or mongodb+srv://'],
      ['MONGO_URI', 'mongodb://user:hid@den@host', 'mongodb:// or mongodb+srv://'],
      ['MONGO_URI', 'mongodb://user:hid den@host', 'mongodb:// or mongodb+srv://'],
      ['REDIS_URL', 'hidden:6379', 'redis:// or rediss://'],
      ['REDIS_URL', 'redis://', 'redis:// or rediss://'],
      ['REDIS_URL', 'https://hidden', 'redis:// or rediss://'],
      ['REDIS_URL', 'redis://:hidden@host:99999', 'redis:// or rediss://'],
      ['REDIS_URL', 'redis://:hid#den@host', 'redis:// or rediss://'],
      ['REDIS_URL', 'redis://host/hidden', 'redis:// or rediss://'],
    ];
    for (const [name, value, form] of bad) {
      const faults = faultsOf({ ...CLUSTER, [name]: value });
      assert.equal(faults.length, 1, value);
      assert.ok(faults[0]?.startsWith(`${name} is a value that is not shown, but must be ${form}`), faults[0]);
      assert.doesNotMatch(faults[0] ?? '', /hid/);
    }
  });
});

describe('a bad value', () => {
  const cases: readonly (readonly [name: string, value: string, line: string])[] = [
    ['HOST', 'http://x', 'HOST is "http://x", but must be a host name or an IP address'],
    ['HOST', '[::1]', 'HOST is "[::1]", but must be a host name'],
    ['HOST', '999.1.1.1', 'HOST is "999.1.1.1", but must be a host name'],
    ['PORT', '80a', 'PORT is "80a", but must be a whole number from 0 to 65535'],
    ['PORT', '65536', 'PORT is "65536", but must be a whole number from 0 to 65535'],
    ['PORT', '0x50', 'PORT is "0x50", but must be a whole number'],
    ['PORT', '-1', 'PORT is "-1", but must be a whole number'],
    ['PORT', '   ', 'PORT is "   ", but must be a whole number'],
    ['DATA_DIR', '~/data', 'DATA_DIR is "~/data", but must be a path, absolute or from the working directory'],
    ['DATA_DIR', 'a\0b', 'DATA_DIR is "a\\u0000b", but must be a path'],
    ['MONGO_DATABASE_NAME', 'a.b', 'MONGO_DATABASE_NAME is "a.b", but must be at most 63 bytes, without spaces'],
    ['MONGO_DATABASE_NAME', 'a b', 'MONGO_DATABASE_NAME is "a b", but must be at most 63 bytes'],
    ['MONGO_DATABASE_NAME', 'a/b', 'MONGO_DATABASE_NAME is "a/b", but must be at most 63 bytes'],
    ['MONGO_DATABASE_NAME', '$a', 'MONGO_DATABASE_NAME is "$a", but must be at most 63 bytes'],
    ['MONGO_DATABASE_NAME', 'Local', 'MONGO_DATABASE_NAME is "Local", but must be at most 63 bytes'],
    ['MONGO_DATABASE_NAME', 'é'.repeat(32), `MONGO_DATABASE_NAME is "${'é'.repeat(32)}", but must be at most 63 bytes`],
    ['QUEUE_PREFIX', 'a:b', 'QUEUE_PREFIX is "a:b", but must be letters, digits, ".", "_" and "-", at most 64 of them'],
    ['QUEUE_PREFIX', 'a'.repeat(65), `QUEUE_PREFIX is "${'a'.repeat(65)}", but must be letters, digits`],
    ['LEASE_SECONDS', '1.5', 'LEASE_SECONDS is "1.5", but must be a whole number from 0 to 315360000'],
    ['TRIGGER_RETENTION_HOURS', '0', 'TRIGGER_RETENTION_HOURS is "0", but must be a whole number from 1 to 87600'],
    ['CORS_ORIGINS', '*', 'CORS_ORIGINS has "*" in it, but must be origins as a browser sends them'],
    ['CORS_ORIGINS', 'https://a/b', 'CORS_ORIGINS has "https://a/b" in it, but must be origins'],
    ['CORS_ORIGINS', 'http://u:p@a', 'CORS_ORIGINS has "http://u:p@a" in it, but must be origins'],
    ['CORS_ORIGINS', 'ftp://a', 'CORS_ORIGINS has "ftp://a" in it, but must be origins'],
    ['CORS_ORIGINS', 'localhost:3000', 'CORS_ORIGINS has "localhost:3000" in it, but must be origins'],
    ['CORS_ORIGINS', 'http://*.org', 'CORS_ORIGINS has "http://*.org" in it, but must be origins'],
    ['CORS_ORIGINS', ' , ', 'CORS_ORIGINS is " , ", but must be origins'],
    ...[
      'true',
      '*',
      '1',
      '0.0.0.0/0',
      '::/0',
      '10.0.0.0/33',
      '::1/129',
      '10.0.0.0/8/8',
      '10.0.0/24',
      '/8',
      'proxy',
    ].map((text) => ['TRUST_PROXY', text, `TRUST_PROXY has "${text}" in it, but must be addresses, networks`] as const),
    ...['::ffff:10.0.0.0/8', '::FFFF:a00:0/95', '0:0:0:0:0:ffff:10.0.0.0/8'].map(
      (text) =>
        [
          'TRUST_PROXY',
          text,
          `TRUST_PROXY has "${text.toLowerCase()}" in it, but must be addresses, networks such as 10.0.0.0/8, or loopback, ` +
            'linklocal, uniquelocal (private networks), separated by commas; ' +
            'the prefix of an IPv4 network in IPv6 has at least 96 bits: write it as IPv4',
        ] as const,
    ),
    ['TRUST_PROXY', '10.0.0.1, fe80::1%eth0', 'TRUST_PROXY has "fe80::1%eth0" in it, but must be addresses'],
    ['TRUST_PROXY', ',', 'TRUST_PROXY is ",", but must be addresses, networks such as 10.0.0.0/8, or loopback'],
    ['MAX_CONNECTIONS', '9', 'MAX_CONNECTIONS is "9", but must be a whole number from 10 to 1000000'],
    ['LOG_LEVEL', 'loud', 'LOG_LEVEL is "loud", but must be one of fatal, error, warn, info, debug, trace, silent'],
    ['MAX_BODY_BYTES', '1023', 'MAX_BODY_BYTES is "1023", but must be a whole number from 1024 to 15728640'],
    ['MAX_JSON_DEPTH', '1001', 'MAX_JSON_DEPTH is "1001", but must be a whole number from 8 to 1000'],
    ['MAX_VERTICES', '0', 'MAX_VERTICES is "0", but must be a whole number from 1 to 100000'],
    ['MAX_OUTPUTS', '1e3', 'MAX_OUTPUTS is "1e3", but must be a whole number from 1 to 1000000'],
    ['MAX_STATES_PER_CALL', 'NaN', 'MAX_STATES_PER_CALL is "NaN", but must be a whole number from 1 to 10000000'],
    ['MAX_NAME_LENGTH', '1001', 'MAX_NAME_LENGTH is "1001", but must be a whole number from 64 to 1000'],
    ['MAX_VALUE_LENGTH', '0', 'MAX_VALUE_LENGTH is "0", but must be a whole number from 1 to 4194304'],
    ['MAX_BATCH_SIZE', '10001', 'MAX_BATCH_SIZE is "10001", but must be a whole number from 1 to 10000'],
    ['SWEEP_SECONDS', '0', 'SWEEP_SECONDS is "0", but must be a number from 0.01 to 60'],
    ['SWEEP_SECONDS', '60.1', 'SWEEP_SECONDS is "60.1", but must be a number from 0.01 to 60'],
  ];
  for (const [name, value, line] of cases) {
    it(`of ${name} gives one line: ${JSON.stringify(value)}`, () => {
      const faults = faultsOf({ [name]: value });
      assert.equal(faults.length, 1);
      assert.equal(faults[0]?.slice(0, line.length), line);
    });
  }

  it('is shown in one line and not at any length', () => {
    const [line = ''] = faultsOf({ PORT: `1\n2\u001b[31m${'x'.repeat(10_000)}` });
    assert.match(line, /^PORT is "1\\n2\\u001b\[31mx+\.\.\.", but must be a whole number from 0 to 65535$/);
    assert.ok(line.length < 200);
  });

  it('gives a line for each of several faults, also of one variable', () => {
    const faults = faultsOf(
      { PORT: 'x', CORS_ORIGINS: 'http://a,b,http://c,*', SWEEP_SECONDS: '-5' },
      'PORT=8000\nLOG_LEVEL=loud',
    );
    assert.deepEqual(
      faults.map((line) => line.slice(0, line.indexOf(', but'))),
      [
        'PORT is "x"',
        'CORS_ORIGINS has "b" in it',
        'CORS_ORIGINS has "*" in it',
        'LOG_LEVEL in .env is "loud"',
        'SWEEP_SECONDS is "-5"',
      ],
    );
  });

  it('of an API key is never shown', () => {
    const lists = [
      ['two words', 'key 1 of 1 is none'],
      ['tab\tinside', 'key 1 of 1 is none'],
      ['schlüssel', 'key 1 of 1 is none'],
      ['\u0000', 'key 1 of 1 is none'],
      ['hidden,hid den,,other', 'key 2 of 3 is none'],
      [',', 'there is none'],
      [' , ,\n', 'there is none'],
      ['other,hidden,another , hidden', 'key 4 is the same as key 2'],
    ] as const;
    for (const [secret, what] of lists) {
      const line =
        'STATE_MANAGER_SECRET is a value that is not shown, but must be a key of letters, digits and signs of ASCII, ' +
        `without spaces and commas, or several such keys, no two the same, separated by commas; ${what}`;
      assert.deepEqual(faultsOf({ STATE_MANAGER_SECRET: secret }), [line], secret);
      assert.deepEqual(faultsOf({ ...CLUSTER, STATE_MANAGER_SECRET: secret }), [line], secret);
    }
  });

  it('of an encryption key is never shown', () => {
    const notKeys = ['hunter2', ENCRYPTION_KEY.slice(1), `${ENCRYPTION_KEY}A`, `${ENCRYPTION_KEY}==`, '.'.repeat(43)];
    for (const key of notKeys) {
      const faults = faultsOf({}, `SECRETS_ENCRYPTION_KEY="${key}"`);
      assert.equal(faults.length, 1);
      assert.match(
        faults[0] ?? '',
        /^SECRETS_ENCRYPTION_KEY in \.env is a value that is not shown, but must be 32 bytes/,
      );
      assert.ok(!faults[0]?.includes(key));
    }
    const lists: readonly (readonly [keys: readonly string[], what: string])[] = [
      [[ENCRYPTION_KEY, 'hunter2', ENCRYPTION_KEY], 'key 2 of 3 is none'],
      [['hunter2', ENCRYPTION_KEY], 'key 1 of 2 is none'],
      [[`${'+/'.repeat(21)}A=`, ENCRYPTION_KEY, `${'-_'.repeat(21)}A`], 'key 3 is the same as key 1'],
      [[ENCRYPTION_KEY, `${ENCRYPTION_KEY}=`], 'key 2 is the same as key 1'],
      [['', ' '], 'there is none'],
    ];
    for (const [keys, what] of lists) {
      assert.deepEqual(faultsOf({ SECRETS_ENCRYPTION_KEY: keys.join(',') }), [
        'SECRETS_ENCRYPTION_KEY is a value that is not shown, but must be 32 bytes in base64 (43 characters, URL-safe or ' +
          'not, and "=" at the end or not), or several such keys, no two the same, separated by commas; ' +
          what,
      ]);
    }
  });
});

describe('.env', () => {
  it('is read from the folder', (context) => {
    const folder = makeFolder(context);
    writeFileSync(join(folder, '.env'), 'PORT=8001\nLOG_LEVEL=warn\n');
    const config = loadConfig(folder, { PORT: '8002' });
    assert.equal(config.port, 8002);
    assert.equal(config.logLevel, 'warn');
  });

  it('need not be there', (context) => {
    assert.deepEqual(loadConfig(makeFolder(context), {}), readConfig({}));
  });

  it('that cannot be read stops the start', (context) => {
    const folder = makeFolder(context);
    mkdirSync(join(folder, '.env'));
    assert.throws(() => loadConfig(folder, {}), { name: 'ConfigError', message: /^\.env cannot be read \(EISDIR/ });
  });
});

describe('.env.example', () => {
  const text = readFileSync(join(import.meta.dirname, '..', '.env.example'), 'utf8');
  const [top = '', ofCompose = ''] = text.split(/^(?=# For docker-compose\.yml only)/m);
  const [head = '', ...blocks] = top.trimEnd().split('\n\n');

  /** The comment above a setting as one line, and the setting. */
  function parseBlock(block: string): { comment: string; assignment: string } {
    const lines = block.split('\n');
    const assignment = lines.pop() ?? '';
    assert.ok(lines.every((line) => line.startsWith('# ')));
    return { comment: lines.map((line) => line.slice(2)).join(' '), assignment };
  }

  it('explains every setting in the words of the schema, with its default', () => {
    assert.match(head, /^# Settings/);
    assert.deepEqual(
      blocks.map(parseBlock),
      SETTINGS.map(({ name, description, default: fallback }) => ({
        comment: description,
        assignment: fallback === undefined ? `# ${name}=` : `${name}=${fallback}`,
      })),
    );
  });

  it('explains in a section of its own what Compose reads and the service does not', () => {
    const [explanation = '', ...variables] = ofCompose.trimEnd().split('\n\n');
    assert.match(explanation, /the service itself reads none of what follows/);
    const found = variables.map(parseBlock);
    for (const { comment } of found) assert.match(comment, /^[A-Z].*\./);
    assert.deepEqual(
      found.map(({ assignment }) => assignment),
      ['# REPLICAS=3', '# MONGO_PASSWORD=', '# REDIS_PASSWORD='],
    );
    const names = new Set(SETTINGS.map(({ name }) => name));
    for (const { assignment } of found) assert.ok(!names.has(assignment.replace(/^# (\w+)=.*$/, '$1')), assignment);
  });

  it('is a .env that changes nothing', () => {
    assert.deepEqual(readConfig({}, text), readConfig({}));
  });

  it('has the keys and what may hold a password as its only secrets', () => {
    const secrets = SETTINGS.filter(({ secret }) => secret).map(({ name }) => name);
    assert.deepEqual(secrets, ['STATE_MANAGER_SECRET', 'SECRETS_ENCRYPTION_KEY', 'MONGO_URI', 'REDIS_URL']);
  });
});
