import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import type { Socket } from 'node:net';
import { suite, test } from 'node:test';
import { promisify } from 'node:util';
import { unwrap } from '../../../../src/common/errors/index.ts';
import type { ProvenListener } from '../../../../sidecar/probe/index.ts';
import {
  listenerAt,
  lookAt,
  rawServer,
  serverPair,
  upgrade,
} from '../../../support/tls-servers.ts';

const pair = serverPair();
const run = promisify(execFile);

/** What a server of a protocol says, to each thing that it expects, before TLS. */
interface Dialogue {
  readonly greeting?: Buffer;
  readonly turns: readonly (readonly [
    expected: RegExp | Buffer,
    answer: Buffer,
    octets?: number | undefined,
  ])[];
}

const text = (line: string): Buffer => Buffer.from(line, 'latin1');
const hex = (digits: string): Buffer => Buffer.from(digits.replaceAll(' ', ''), 'hex');

const ldapResult = (code: string): Buffer => hex(`30 0c 02 01 01 78 07 0a 01 ${code} 04 00 04 00`);
const mysqlGreeting = (capabilities: string): Buffer => {
  const body = Buffer.concat([
    hex('0a'),
    text('8.0.36\0'),
    hex(`01000000 6162636465666768 00 ${capabilities} 2d 0200 0000 15 00000000000000000000`),
    text('abcdefghijkl\0mysql_native_password\0'),
  ]);
  return Buffer.concat([Buffer.of(body.length, 0, 0, 0), body]);
};

const good: Readonly<Record<Exclude<ProvenListener['protocol'], 'tls'>, Dialogue>> = {
  postgresql: { turns: [[hex('00000008 04d2162f'), text('S')]] },
  mysql: {
    greeting: mysqlGreeting('ffff'),
    turns: [[/^ \0\0[^]/, Buffer.alloc(0), 36]],
  },
  smtp: {
    greeting: text('220-mail.example.org\r\n220 ready\r\n'),
    turns: [
      [/^EHLO .*\r\n$/, text('250-mail.example.org\r\n250-SIZE 1000\r\n250 STARTTLS\r\n')],
      [/^STARTTLS\r\n$/, text('220 go ahead\r\n')],
    ],
  },
  ldap: { turns: [[/1\.3\.6\.1\.4\.1\.1466\.20037/, ldapResult('00')]] },
};

function play({ greeting, turns }: Dialogue, then: (socket: Socket) => void) {
  return (socket: Socket): void => {
    const left = [...turns];
    const next = (): void => {
      const turn = left.shift();
      if (turn === undefined) {
        then(socket);
        return;
      }
      socket.once('readable', () => {
        const [expected, answer, octets] = turn;
        const came = socket.read(octets) as Buffer | null;
        const fits =
          came !== null &&
          (expected instanceof RegExp
            ? expected.test(came.toString('latin1'))
            : came.equals(expected));
        if (!fits) {
          socket.destroy();
          return;
        }
        socket.write(answer);
        next();
      });
    };
    if (greeting !== undefined) socket.write(greeting);
    next();
  };
}

const opensslNames = {
  postgresql: 'postgres',
  mysql: 'mysql',
  smtp: 'smtp',
  ldap: 'ldap',
} as const;

for (const protocol of Object.keys(good) as (keyof typeof good)[])
  suite(`TLS after ${protocol}`, () => {
    test('is reached, and OpenSSL takes the same server for one', async () => {
      await using server = await rawServer(play(good[protocol], (socket) => upgrade(socket, pair)));
      const shown = unwrap(await lookAt(listenerAt(server.address, { protocol })));
      assert.equal(shown.leafSha256, pair.leafSha256);
      const args = ['s_client', '-connect', server.address, '-starttls', opensslNames[protocol]];
      const judged = run('openssl', [...args, '-showcerts']);
      judged.child.stdin?.end();
      assert.match((await judged).stdout, /-----BEGIN CERTIFICATE-----/);
    });

    test('words of somebody else behind the consent are refused', async () => {
      const last = good[protocol].turns.at(-1) as Dialogue['turns'][number];
      const injected: Dialogue = {
        ...good[protocol],
        turns: [
          ...good[protocol].turns.slice(0, -1),
          [last[0], Buffer.concat([last[1], text('injected')]), last[2]],
        ],
      };
      await using server = await rawServer(play(injected, (socket) => void socket.resume()));
      const answer = await lookAt(listenerAt(server.address, { protocol }));
      assert.ok(!answer.ok);
      assert.match(
        answer.error.message,
        protocol === 'mysql' ? /does not speak TLS/ : /more before TLS than it should/,
      );
    });

    test('a server that speaks something else is refused', async () => {
      await using server = await rawServer((socket) => {
        socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n');
      });
      const answer = await lookAt(listenerAt(server.address, { protocol }));
      assert.ok(!answer.ok);
      assert.match(answer.error.message, /does not speak|otherwise than/);
    });
  });

suite('a server without TLS says so', () => {
  const refusals: readonly (readonly [ProvenListener['protocol'], Dialogue, RegExp])[] = [
    ['postgresql', { turns: [[/./, text('N')]] }, /has TLS switched off/],
    ['mysql', { greeting: mysqlGreeting('fff7'), turns: [] }, /has TLS switched off/],
    ['mysql', { greeting: hex('050000 00 ff 6a04 6162'), turns: [] }, /refuses connections/],
    [
      'smtp',
      { greeting: text('220 a\r\n'), turns: [[/EHLO/, text('250 SIZE\r\n')]] },
      /does not offer STARTTLS/,
    ],
    ['ldap', { turns: [[/./, ldapResult('02')]] }, /refuses StartTLS with the result 2/],
  ];
  for (const [protocol, dialogue, reason] of refusals)
    test(`${protocol}: ${reason.source}`, async () => {
      await using server = await rawServer(play(dialogue, (socket) => void socket.resume()));
      const answer = await lookAt(listenerAt(server.address, { protocol }));
      assert.ok(!answer.ok);
      assert.match(answer.error.message, reason);
    });
});
