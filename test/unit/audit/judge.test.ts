import assert from 'node:assert/strict';
import { generateKeyPairSync, sign, type KeyObject } from 'node:crypto';
import { test } from 'node:test';
import { judgePending } from '../../../src/audit/judge.ts';
import { openSession, SealCheck } from '../../../src/audit/session.ts';
import { spkiOf } from '../../../src/common/x509/index.ts';
import { leafHash, sealBytes } from '../../../src/domain/index.ts';
import type { PendingRecord } from '../../../src/ledger/index.ts';
import type { LogSeal } from '../../../src/store/ports/index.ts';
import { FakeClock } from '../../support/agent.ts';

const origin = 'td/meshca/audit';
const hash = (sequence: number): Buffer => leafHash(Buffer.from(`record ${sequence}`));

async function sealer(key: KeyObject): Promise<{
  readonly id: string;
  readonly seal: (first: number, last: number, previous?: number | null) => LogSeal;
  readonly session: Awaited<ReturnType<typeof openSession>>['session'];
}> {
  const { session, seal } = await openSession({
    sign: (text) => Promise.resolve(sign('sha256', Buffer.from(text), key)),
    signer: 'log',
    origin,
    clock: new FakeClock(),
  });
  return {
    id: session.id,
    session,
    seal: (firstSequence, lastSequence, previousSequence = 0) => {
      const bounds = { sessionId: session.id, firstSequence, lastSequence, previousSequence };
      return {
        ...bounds,
        signature: seal(
          sealBytes(
            bounds,
            Array.from({ length: lastSequence - firstSequence + 1 }, (_, at) =>
              hash(firstSequence + at),
            ),
          ),
        ),
      };
    },
  };
}

const of = (sequence: number, kind: 'own' | 'open' | 'foreign' | 'gone'): PendingRecord => ({
  sequence,
  leafHash: hash(sequence),
  origin: { kind },
});
const under = (sequence: number, seal: LogSeal, leaf = hash(sequence)): PendingRecord => ({
  sequence,
  leafHash: leaf,
  origin: { kind: 'sealed', seal },
});
const verdict = (
  judged: ReturnType<typeof judgePending>,
): { readonly taken: number[]; readonly out: number[]; readonly upTo: number } => ({
  taken: judged.taken.map(({ sequence }) => sequence),
  out: judged.excluded.map(({ sequence }) => sequence),
  upTo: judged.sequence,
});

const logKey = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const checkOf = (...sessions: Parameters<SealCheck['learn']>[0]): SealCheck => {
  const check = new SealCheck({ origin, logSpkisDer: [spkiOf(logKey.publicKey)] });
  check.learn(sessions);
  return check;
};

test('own and open records get into the tree; foreign and deleted ones are named and stay out', () => {
  const judged = judgePending(
    [of(1, 'open'), of(2, 'own'), of(3, 'foreign'), of(4, 'gone'), of(5, 'own')],
    checkOf(),
    { after: 0, more: false },
  );
  assert.deepEqual(verdict(judged), { taken: [1, 2, 5], out: [3, 4], upTo: 5 });
  assert.notEqual(judged.excluded[0]?.reason, judged.excluded[1]?.reason);
});

test('a seal covers exactly its records, and needs a key that the key of the log has signed', async () => {
  const good = await sealer(logKey.privateKey);
  const check = checkOf(good.session);
  const seal = good.seal(1, 3);
  assert.deepEqual(
    verdict(
      judgePending(
        [1, 2, 3].map((at) => under(at, seal)),
        check,
        { after: 0, more: false },
      ),
    ),
    { taken: [1, 2, 3], out: [], upTo: 3 },
  );
  assert.deepEqual(
    verdict(
      judgePending([under(1, seal), under(2, seal, hash(9)), under(3, seal)], check, {
        after: 0,
        more: false,
      }),
    ),
    { taken: [], out: [1, 2, 3], upTo: 3 },
    'one was changed',
  );
  assert.deepEqual(
    verdict(judgePending([under(1, seal), under(3, seal)], check, { after: 0, more: false })),
    { taken: [], out: [1, 3], upTo: 3 },
    'one is missing',
  );
  assert.deepEqual(
    verdict(
      judgePending([under(4, { ...seal, firstSequence: 4, lastSequence: 4 })], check, {
        after: 0,
        more: false,
      }),
    ),
    { taken: [], out: [4], upTo: 4 },
    'a seal of other records',
  );
  const stranger = await sealer(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey);
  const foreign = stranger.seal(1, 1);
  assert.deepEqual(
    verdict(
      judgePending([under(1, foreign)], checkOf(stranger.session), { after: 0, more: false }),
    ),
    { taken: [], out: [1], upTo: 1 },
    'a session that another key signed',
  );
  assert.deepEqual(
    verdict(judgePending([under(1, foreign)], check, { after: 0, more: false })),
    { taken: [], out: [1], upTo: 1 },
    'a session that nobody knows',
  );
  const elsewhere = new SealCheck({
    origin: 'other/meshca/audit',
    logSpkisDer: [spkiOf(logKey.publicKey)],
  });
  elsewhere.learn([good.session]);
  assert.deepEqual(
    verdict(judgePending([under(1, good.seal(1, 1))], elsewhere, { after: 0, more: false })),
    { taken: [], out: [1], upTo: 1 },
    'a session of another log',
  );
});

test('a seal that reaches beyond what was read waits for the rest', async () => {
  const good = await sealer(logKey.privateKey);
  const check = checkOf(good.session);
  const seal = good.seal(2, 4);
  assert.deepEqual(
    verdict(
      judgePending([of(1, 'own'), under(2, seal), under(3, seal)], check, { after: 0, more: true }),
    ),
    { taken: [1], out: [], upTo: 1 },
  );
  assert.deepEqual(
    verdict(
      judgePending([under(2, seal), under(3, seal), under(4, seal)], check, {
        after: 0,
        more: true,
      }),
    ),
    { taken: [2, 3, 4], out: [], upTo: 4 },
  );
});

test('a commit that was deleted whole, with its seal, is missed by the next one of its session', async () => {
  const [one, other] = [await sealer(logKey.privateKey), await sealer(logKey.privateKey)];
  const check = checkOf(one.session, other.session);
  const judge = (pending: readonly PendingRecord[], after = 0) =>
    verdict(judgePending(pending, check, { after, more: false }));
  const [first, second, third] = [one.seal(1, 2), other.seal(3, 3), one.seal(4, 4, 2)];
  const rest = [under(3, second), under(4, third)];
  assert.deepEqual(judge([under(1, first), under(2, first), ...rest]), {
    taken: [1, 2, 3, 4],
    out: [],
    upTo: 4,
  });
  assert.deepEqual(judge(rest), { taken: [3, 4], out: [2], upTo: 4 }, 'the first one is gone');
  assert.deepEqual(judge(rest, 2), { taken: [3, 4], out: [], upTo: 4 }, 'it is in the tree');
  const forged = under(4, { ...third, previousSequence: 0 });
  assert.deepEqual(judge([forged]), { taken: [], out: [4], upTo: 4 }, 'the link was changed');
});

test('a seal of an older release names no record before, and counts as it did', async () => {
  const good = await sealer(logKey.privateKey);
  const reach = { after: 0, more: false };
  const old = good.seal(2, 2, null);
  assert.match(sealBytes(old, []).toString(), /^meshca-audit-seal-v1\n[^\n]+\n2\n2\n$/);
  assert.deepEqual(verdict(judgePending([under(2, old)], checkOf(good.session), reach)), {
    taken: [2],
    out: [],
    upTo: 2,
  });
});
