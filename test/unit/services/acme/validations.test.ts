import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';
import { PkiError } from '../../../../src/common/errors/index.ts';
import { silentLogger } from '../../../../src/common/runtime/index.ts';
import type {
  AcmeAccount,
  AcmeOrder,
  Authorization,
  AuditEvent,
  EabKey,
  Perspective,
} from '../../../../src/domain/index.ts';
import { Validations } from '../../../../src/services/acme/validations.ts';
import { invalid, type Evidence, type Judged } from '../../../../src/common/validation/outcome.ts';
import type { ValidationAsk } from '../../../../src/common/validation/validator.ts';
import { FakeClock, settle } from '../../../support/agent.ts';
import { until } from '../../../support/until.ts';

const clock = new FakeClock();
const authorization = (value: string): Authorization => ({
  identifier: { type: 'dns', value },
  wildcard: false,
  status: 'pending',
  shownBy: 'challenge',
  expiresAt: clock.now() + 3600,
  token: 'token',
  challenges: [
    { type: 'http-01', status: 'processing', validatedAt: null, problem: null },
    { type: 'dns-01', status: 'pending', validatedAt: null, problem: null },
  ],
});
const order = (id: string, names: readonly string[], accountId = 'account'): AcmeOrder => ({
  id,
  accountId,
  eabKeyId: 'key',
  tenant: 'payments',
  authorizations: names.map(authorization),
  profile: 'revocable' as AcmeOrder['profile'],
  replaces: null,
  stage: 'open',
  csrDer: null,
  serial: null,
  problem: null,
  expiresAt: clock.now() + 7200,
  createdAt: clock.now(),
  version: 1,
});

/** Orders in memory, with the compare-and-set of the store. */
class World {
  readonly rows = new Map<string, AcmeOrder>();
  readonly events: AuditEvent[] = [];
  readonly asked: ValidationAsk[] = [];
  readonly results: string[] = [];
  answer: (ask: ValidationAsk, signal: AbortSignal) => Promise<Judged<Evidence>> = () =>
    Promise.resolve({ ok: true, value: { seenAt: ['10.0.0.1 port 80'] } });
  account = { id: 'account', status: 'valid', thumbprint: 'thumb' } as AcmeAccount;
  eabKey = { revokedAt: null, expiresAt: 0 } as EabKey;
  held = false;
  perspectives: readonly Perspective[] = [];
  isShort = false;
  readonly altered = new Set<string>();
  beforeUpdate: () => void = () => {};
  readonly validations = new Validations({
    orders: {
      byId: (id) => Promise.resolve(this.rows.get(id)),
      validating: ({ after = '', size }) => {
        const behind = [...this.rows.values()].filter(({ id }) => id > after);
        const page = behind.slice(0, size);
        return Promise.resolve({
          // a row that differs from the log is in none of the pages
          items: page.filter(({ id }) => !this.altered.has(id)),
          next: behind.length > size ? page.at(-1)?.id : undefined,
        });
      },
      update: (changed, { event }) => {
        this.beforeUpdate();
        if (this.rows.get(changed.id)?.version !== changed.version - 1)
          return Promise.reject(new PkiError('CONFLICT', 'another version'));
        this.rows.set(changed.id, changed);
        this.events.push(event);
        return Promise.resolve();
      },
    },
    accounts: {
      byId: () =>
        this.altered.has('account')
          ? Promise.reject(new PkiError('OBJECT_NOT_IN_LOG', 'the account differs'))
          : Promise.resolve(this.account),
    },
    eabKeys: { byId: () => Promise.resolve(this.eabKey) },
    validator: {
      validate: async (ask, signal) => {
        this.asked.push(ask);
        const judged = await this.answer(ask, signal);
        const [perspectives, isShort] = [this.perspectives, this.isShort];
        return { judged, perspectives, isShort };
      },
    },
    settings: { concurrent: 8, perAccount: 2, authorizationSeconds: 86_400, failureSeconds: 3_600 },
    accountUri: (id) => `https://ca.test/acme/account/${id}`,
    held: () => this.held,
    judged: (type, result) => void this.results.push(`${type} ${result}`),
    clock,
    logger: silentLogger,
  });

  put(added: AcmeOrder): AcmeOrder {
    this.rows.set(added.id, added);
    return added;
  }

  statuses(id: string): readonly string[] {
    return this.rows.get(id)?.authorizations.map(({ status }) => status) ?? [];
  }
}

let worlds: World[] = [];
const world = (): World => {
  const made = new World();
  worlds.push(made);
  return made;
};
afterEach(async () => {
  for (const { validations } of worlds) await validations.close();
  worlds = [];
});

describe('validations', () => {
  it('write the verdict, with what was dialled in the record', async () => {
    const { validations, ...parts } = world();
    const [{ rows, asked, events, results }] = [parts];
    const put = order('1', ['app.test']);
    rows.set('1', put);
    validations.take(put);
    await until(() => results.length === 1);
    assert.deepEqual(asked[0], {
      type: 'http-01',
      identifier: { type: 'dns', value: 'app.test' },
      wildcard: false,
      token: 'token',
      keyAuthorization: 'token.thumb',
      accountUri: 'https://ca.test/acme/account/account',
    });
    assert.equal(rows.get('1')?.authorizations[0]?.status, 'valid');
    assert.equal(rows.get('1')?.version, 2);
    assert.deepEqual(
      events.map(({ kind, subject, detail }) => ({ kind, subject, detail })),
      [
        {
          kind: 'acme-challenge.validated',
          subject: '1',
          detail: {
            account: 'account',
            tenant: 'payments',
            identifier: 'dns:app.test',
            challenge: 'http-01',
            seenAt: ['10.0.0.1 port 80'],
          },
        },
      ],
    );
  });

  it('write what was seen from elsewhere, in the order and in the record', async () => {
    const here = world();
    const seen = {
      name: 'west',
      result: 'agreed',
      code: '',
      seenAt: ['10.0.0.1 port 80'],
    } as const;
    here.perspectives = [seen];
    here.validations.take(here.put(order('1', ['app.test'])));
    await until(() => here.results.length === 1);
    assert.deepEqual(here.rows.get('1')?.authorizations[0]?.challenges[0]?.perspectives, [seen]);
    assert.deepEqual(here.events[0]?.detail['perspectives'], ['west agreed 10.0.0.1 port 80']);
  });

  it('leave a challenge processing while too few have looked, say why, and try again', async () => {
    const here = world();
    here.isShort = true;
    here.perspectives = [{ name: 'west', result: 'absent', code: 'silent', seenAt: [] }];
    here.answer = () => Promise.resolve(invalid('serverInternal', 'too few [ACME_VANTAGE_SHORT]'));
    here.validations.take(here.put(order('1', ['app.test'])));
    const challenge = () => here.rows.get('1')?.authorizations[0]?.challenges[0];
    await until(() => challenge()?.problem !== null);
    assert.equal(challenge()?.status, 'processing');
    assert.equal(challenge()?.perspectives?.[0]?.result, 'absent');
    assert.deepEqual(here.statuses('1'), ['pending']);
    assert.equal(here.events[0]?.kind, 'acme-challenge.waits');
    assert.equal(here.events[0]?.detail['quotaPlaces'], undefined);
    clock.advance(10_000);
    await until(() => here.asked.length === 2);
    await settle();
    // the same again is not on record twice
    here.answer = () => Promise.resolve({ ok: true, value: { seenAt: [] } });
    here.isShort = false;
    here.perspectives = [{ name: 'west', result: 'agreed', code: '', seenAt: [] }];
    clock.advance(20_000);
    await until(() => here.results.length === 1);
    assert.deepEqual([challenge()?.status, challenge()?.problem], ['valid', null]);
    assert.deepEqual(
      here.events.map(({ kind }) => kind),
      ['acme-challenge.waits', 'acme-challenge.validated'],
    );
    assert.deepEqual(here.results, ['http-01 valid']);
  });

  it('try each challenge that waits for vantage agents again alone, less and less often', async () => {
    const here = world();
    here.isShort = true;
    const names = ['a.test', 'b.test', 'c.test'];
    await here.validations.start();
    const put = here.put(order('1', names));
    const begun = clock.nowMs();
    const times = new Map<string, number[]>(names.map((name) => [name, []]));
    here.answer = ({ identifier }) => {
      times.get(identifier.value)?.push((clock.nowMs() - begun) / 1000);
      return Promise.resolve(invalid('serverInternal', 'too few'));
    };
    for (let second = 0; second < 625; second += 1) {
      // they end at different times
      if (second < names.length)
        here.validations.take({
          ...put,
          authorizations: put.authorizations.slice(0, second + 1),
        });
      await settle();
      clock.advance(1_000);
    }
    const attempts = [0, 10, 30, 70, 150, 310, 610];
    assert.deepEqual(
      [...times.values()],
      [0, 1, 2].map((late) => attempts.map((at) => at + late)),
    );
    here.rows.set('1', { ...(here.rows.get('1') as AcmeOrder), stage: 'failed' });
    clock.advance(3_600_000);
    await settle();
    assert.equal(here.asked.length, 21);
  });

  it('write the problem of a challenge that failed', async () => {
    const here = world();
    here.answer = () => Promise.resolve(invalid('connection', 'nobody there'));
    here.validations.take(here.put(order('1', ['app.test'])));
    await until(() => here.results.includes('http-01 connection'));
    assert.deepEqual(here.statuses('1'), ['invalid']);
    assert.deepEqual(here.rows.get('1')?.authorizations[0]?.challenges[0]?.problem, {
      type: 'connection',
      detail: 'nobody there',
    });
    assert.equal(here.events[0]?.kind, 'acme-challenge.failed');
    assert.deepEqual(here.events[0]?.detail['quotaPlaces'], [
      `acme-failure:account dns:app.test ${clock.now() + 3_600}`,
    ]);
  });

  it('go on after a restart with what the database says', async () => {
    const here = world();
    for (let index = 100; index < 350; index += 1)
      here.put(order(String(index), ['app.test'], `account-${index % 7}`));
    await here.validations.start();
    await until(() => here.results.length === 250);
    for (const id of here.rows.keys()) assert.deepEqual(here.statuses(id), ['valid']);
  });

  it('go on behind rows that differ from the log, however many they are', async () => {
    const here = world();
    for (let index = 100; index < 310; index += 1) {
      here.put(order(String(index), ['app.test'], `account-${index % 7}`));
      if (index < 305) here.altered.add(String(index));
    }
    await here.validations.start();
    await until(() => here.results.length === 5);
  });

  it('fail where the account differs from the log, and dial nothing', async () => {
    const here = world();
    here.altered.add('account');
    here.validations.take(here.put(order('1', ['app.test'])));
    await until(() => here.results.includes('http-01 serverInternal'));
    assert.deepEqual([here.asked, here.statuses('1')], [[], ['invalid']]);
  });

  it('look again from time to time: another process may have left something', async () => {
    const here = world();
    await here.validations.start();
    here.put(order('1', ['app.test']));
    clock.advance(60_000);
    await until(() => here.results.length === 1);
  });

  it('of many names in one order all are written, also where others change the order', async () => {
    const here = world();
    const names = Array.from({ length: 30 }, (_, index) => `n${index}.test`);
    let others = 3;
    here.beforeUpdate = () => {
      const row = here.rows.get('1');
      if (others-- > 0 && row !== undefined)
        here.rows.set('1', { ...row, version: row.version + 1 });
    };
    here.validations.take(here.put(order('1', names)));
    await until(() => here.results.length === 30);
    assert.ok(here.statuses('1').every((status) => status === 'valid'));
  });

  it('change nothing that was decided meanwhile', async () => {
    const here = world();
    const put = here.put(order('1', ['app.test']));
    here.answer = () => {
      const deactivated = { ...(put.authorizations[0] as Authorization), status: 'deactivated' };
      here.rows.set('1', { ...put, version: 2, authorizations: [deactivated as Authorization] });
      return Promise.resolve({ ok: true, value: { seenAt: [] } });
    };
    here.validations.take(put);
    await until(() => here.asked.length === 1);
    await here.validations.close();
    assert.deepEqual(here.statuses('1'), ['deactivated']);
    assert.deepEqual(here.events, []);
  });

  for (const [what, end] of [
    ['account', (here: World) => (here.account = { ...here.account, status: 'deactivated' })],
    ['EAB key', (here: World) => (here.eabKey = { ...here.eabKey, revokedAt: 1 })],
    ['EAB key', (here: World) => (here.eabKey = { ...here.eabKey, expiresAt: 1 })],
  ] as const)
    it(`dial nothing for an ${what} that has ended`, async () => {
      const here = world();
      end(here);
      here.validations.take(here.put(order('1', ['app.test'])));
      await until(() => here.results.includes('http-01 unauthorized'));
      assert.deepEqual(here.asked, []);
      assert.deepEqual(here.statuses('1'), ['invalid']);
    });

  it('dial nothing while the database is not trusted', async () => {
    const here = world();
    here.held = true;
    here.validations.take(here.put(order('1', ['app.test'])));
    await here.validations.start();
    assert.deepEqual(here.asked, []);
    here.held = false;
    clock.advance(60_000);
    await until(() => here.results.length === 1);
  });

  it('leave what was under way to the next start', async () => {
    const here = world();
    here.answer = (_, signal) =>
      new Promise((resolve) =>
        signal.addEventListener('abort', () => resolve(invalid('connection', 'aborted'))),
      );
    here.validations.take(here.put(order('1', ['app.test'])));
    await until(() => here.asked.length === 1);
    await here.validations.close();
    assert.deepEqual(here.statuses('1'), ['pending']);
    assert.deepEqual(here.events, []);
  });
});
