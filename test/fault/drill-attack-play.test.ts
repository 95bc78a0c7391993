import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { test, type TestContext } from 'node:test';
import { judge, play, type Attack, type AttackRow } from '../../drills/attack-play.ts';
import { AttackerChild } from '../../drills/attacker-child.ts';
import { Breaches } from '../../drills/drill.ts';
import { until } from '../support/until.ts';

/** Accepts connections and never says a word. */
async function silentServer(context: TestContext): Promise<number> {
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    sockets.add(socket.on('error', () => {}));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  context.after(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return (server.address() as AddressInfo).port;
}

const { signal } = new AbortController();

const row: AttackRow = {
  attack: 'an attack',
  ...{ tried: 100, attackerCpuMs: 300, attackedCpuMs: 300, ratio: 1 },
  ...{ honestWaited: 10, honestWaitedCpuMs: 30, unanswered: null },
};

function breachesOf(changed: Partial<AttackRow>): readonly string[] {
  const breaches = new Breaches();
  judge({ ...row, ...changed }, 6, breaches);
  return breaches.list;
}

test('an honest caller without an answer is a breach by name, and the play ends', async (context) => {
  const at = await silentServer(context);
  let ended = false;
  const attack: Attack = {
    attack: 'half a request',
    order: { kind: 'http-half', at },
    ...{ pid: process.pid, most: 6 },
    honest: (given) =>
      new Promise(() => {
        given.addEventListener('abort', () => (ended = true));
      }),
  };
  const played = await play(attack, { cpuMs: 30, signal, patienceMs: 100 });
  assert.equal(played.unanswered, 'not within 0.1 s: an answer');
  assert.equal(ended, true, 'the call that was given up is ended');
  assert.deepEqual(breachesOf({ unanswered: played.unanswered }), [
    'an attack: an honest caller was not answered: not within 0.1 s: an answer',
  ]);
});

test('an honest caller that is refused is a breach with the reason', async (context) => {
  const at = await silentServer(context);
  const attack: Attack = {
    attack: 'half a request',
    order: { kind: 'http-half', at },
    ...{ pid: process.pid, most: 6 },
    honest: () => Promise.reject(new Error('the connection was reset')),
  };
  const { unanswered } = await play(attack, { cpuMs: 30, signal });
  assert.equal(unanswered, 'the connection was reset');
});

test('an attacker whose attempt never ends gives it up, counts, and stops when told', async (context) => {
  const at = await silentServer(context);
  using attacker = new AttackerChild({ kind: 'tls-handshake', at }, signal);
  await attacker.ready();
  await until(async () => (await attacker.count()).tried >= 1, 'an attempt was given up');
  assert.equal((await attacker.stop()).type, 'end');
});

test('an attacker that has ended counts and stops with an error', async (context) => {
  const at = await silentServer(context);
  using attacker = new AttackerChild({ kind: 'tls-silent', at }, signal);
  await attacker.ready();
  const waiting = attacker.stop().then(() => attacker.count());
  await assert.rejects(waiting, /^Error: the attacker ended: tls-silent$/);
  await assert.rejects(
    until(async () => (await attacker.count()).tried < 0),
    /the attacker ended/,
  );
});

test('a breach is a cost above the bound, or a caller who waited for too much of the attack', () => {
  assert.deepEqual(breachesOf({}), []);
  assert.match(breachesOf({ ratio: 6.5 }).join(), /it costs us 6.5 times .* more than 6$/);
  assert.match(
    breachesOf({ honestWaitedCpuMs: 2_001 }).join(),
    /waited while the attacker spent 2001 ms of processor time, more than 2000$/,
  );
});
