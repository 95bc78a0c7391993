import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  noVantagePoint,
  TaskedVantagePoint,
  type VantageSettings,
} from '../../../../sidecar/vantage/index.ts';
import { silentLogger, type Logger } from '../../../../src/common/runtime/index.ts';
import { invalid, type Evidence, type Judged } from '../../../../src/common/validation/index.ts';
import {
  createValidator,
  type ValidatorSettings,
} from '../../../../src/common/validation/create-validator.ts';
import type { ChallengeValidator } from '../../../../src/common/validation/validator.ts';
import type { VantageTask__Output } from '../../../../src/common/wire/generated/meshca/issuer/v1/VantageTask.ts';
import { FakeClock } from '../../../support/agent.ts';

const token = 'evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA';
const { signal } = new AbortController();
const task = (over: Partial<VantageTask__Output> = {}): VantageTask__Output => ({
  ...{ taskId: 'a1', challenge: 'http-01', identifierType: 'dns', identifierValue: 'www.test' },
  ...{ wildcard: false, token, caaMethod: '', caaIdentities: ['ca.test'], timeoutSeconds: 600 },
  keyAuthorization: `${token}.9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI`,
  accountUri: 'https://ca.test/acme/account/1',
  ...over,
});

class World {
  readonly clock = new FakeClock();
  readonly asked: { readonly settings: ValidatorSettings; readonly ask: object }[] = [];
  readonly lines: string[] = [];
  readonly results: string[] = [];
  answer: () => Promise<Judged<Evidence>> = () =>
    Promise.resolve({ ok: true, value: { seenAt: ['10.0.0.1 port 80'] } });
  validatorOf: (settings: ValidatorSettings) => ChallengeValidator;
  readonly point: TaskedVantagePoint;

  constructor(over: Partial<VantageSettings> = {}) {
    const note = (fields: object): void => void this.lines.push(JSON.stringify(fields));
    const logger: Logger = { ...silentLogger, info: note, warn: note, error: note };
    const look = (settings: ValidatorSettings) => (ask: object) => {
      this.asked.push({ settings, ask });
      return this.answer();
    };
    this.validatorOf = (settings) => ({ validate: look(settings), caa: look(settings) });
    this.point = new TaskedVantagePoint({
      config: {
        ...{ allowedNetworks: ['10.0.0.0/8'], deniedNetworks: ['10.9.0.0/16'], httpPort: 80 },
        ...{ resolvers: ['10.0.0.53'], httpsPort: 443, timeoutSeconds: 15, concurrent: 2 },
        ...{ perSecond: 2, ...over },
      },
      validatorOf: (settings) => this.validatorOf(settings),
      onResult: (result) => this.results.push(result),
      ...{ clock: this.clock, logger },
    });
  }
}

describe('an agent that is a vantage point', () => {
  it('validates within its own networks, ports, resolvers and time', async () => {
    const { point, asked, results } = new World();
    assert.deepEqual(await point.carryOut(task(), signal), {
      ...{ taskId: 'a1', result: 'agreed', code: '', seenAt: ['10.0.0.1 port 80'] },
    });
    const { settings, ask } = asked[0]!;
    assert.deepEqual(
      [settings.allowedNetworks, settings.deniedNetworks, settings.resolvers],
      [['10.0.0.0/8'], ['10.9.0.0/16'], ['10.0.0.53']],
    );
    assert.deepEqual([settings.httpPort, settings.httpsPort], [80, 443]);
    assert.equal(settings.timeoutSeconds, 15);
    assert.deepEqual(settings.caaIdentities, ['ca.test']);
    assert.deepEqual(ask, {
      ...{ type: 'http-01', identifier: { type: 'dns', value: 'www.test' }, wildcard: false },
      ...{ token, keyAuthorization: task().keyAuthorization, accountUri: task().accountUri },
    });
    await point.carryOut(task({ timeoutSeconds: 3 }), signal);
    assert.equal(asked[1]?.settings.timeoutSeconds, 3);
    assert.deepEqual(results, ['agreed', 'agreed']);
  });

  it('looks at CAA records alone where it is asked for them', async () => {
    const { point, asked } = new World();
    const caa = { challenge: 'caa', caaMethod: 'dns-01', token: '', keyAuthorization: '' };
    assert.equal((await point.carryOut(task(caa), signal)).result, 'agreed');
    assert.deepEqual(asked[0]?.ask, {
      ...{ name: 'www.test', wildcard: false, method: 'dns-01' },
      accountUri: task().accountUri,
    });
  });

  it('tells of a failure its type and what was dialled, and no text', async () => {
    const world = new World();
    const seenAt = Array.from({ length: 20 }, (_, index) => `ns${index}\n.test`);
    world.answer = () => Promise.resolve(invalid('unauthorized', 'BODY of a host', seenAt));
    const result = await world.point.carryOut(task(), signal);
    assert.deepEqual([result.result, result.code], ['disagreed', 'unauthorized']);
    assert.deepEqual(
      result.seenAt,
      seenAt.slice(0, 8).map((each) => each.replace('\n', '\ufffd')),
    );
    assert.ok(!JSON.stringify(result).includes('BODY'));
    assert.ok(!world.lines.join().includes(token), world.lines.join());
  });

  it('says nothing of a name where it fails itself, or has no resolver', async () => {
    const failing = new World();
    failing.answer = () => Promise.reject(new Error('a bug'));
    assert.equal((await failing.point.carryOut(task(), signal)).result, 'absent');
    const blind = new World({ resolvers: [] });
    assert.deepEqual(await blind.point.carryOut(task(), signal), {
      ...{ taskId: 'a1', result: 'absent', code: 'refused', seenAt: [] },
    });
    assert.deepEqual(blind.asked, []);
  });

  it('is absent where its own networks keep it from looking, and disagrees where none may', async () => {
    for (const [address, allowed, expected] of [
      ['10.0.0.1', [], ['absent', 'refused']],
      ['10.9.0.1', ['10.0.0.0/8'], ['absent', 'refused']],
      ['169.254.169.254', ['0.0.0.0/0'], ['disagreed', 'rejectedIdentifier']],
    ] as const) {
      const world = new World({ allowedNetworks: allowed });
      const listeners = () => [];
      world.validatorOf = (settings) =>
        createValidator({ settings, listeners, clock: world.clock });
      const at = { identifierType: 'ip', identifierValue: address };
      const result = await world.point.carryOut(task(at), signal);
      assert.deepEqual([result.result, result.code], expected, address);
      assert.deepEqual(result.seenAt, []);
      const told = world.lines.some((line) => line.includes(`${address} was not dialled`));
      assert.equal(told, expected[0] === 'absent');
    }
  });

  for (const [what, over] of [
    ['an unknown challenge', { challenge: 'device-attest-01' }],
    ['no challenge', { challenge: '' }],
    ['another type of identifier', { identifierType: 'email' }],
    ['a wildcard in the name', { identifierValue: '*.www.test' }],
    ['a path in the name', { identifierValue: 'www.test/x' }],
    ['a port in the name', { identifierValue: 'www.test:22' }],
    ['an address as a name', { identifierValue: '127.0.0.1' }],
    ['a name in capitals', { identifierValue: 'WWW.test' }],
    ['a text as an address', { identifierType: 'ip', identifierValue: 'www.test' }],
    ['an address that is not canonical', { identifierType: 'ip', identifierValue: '10.0.0.01' }],
    ['a mapped address', { identifierType: 'ip', identifierValue: '::ffff:10.0.0.1' }],
    [
      'a wildcard of an address',
      { identifierType: 'ip', identifierValue: '10.0.0.1', wildcard: true },
    ],
    ['a path as a token', { token: '../../../../../../admin', keyAuthorization: 'x' }],
    ['a short token', { token: 'abc', keyAuthorization: `abc.${'a'.repeat(43)}` }],
    ['a token with a new line', { token: `${token}\r\nx: y` }],
    ['a key authorization of another token', { keyAuthorization: `b${task().keyAuthorization}` }],
    ['a long key authorization', { keyAuthorization: `${task().keyAuthorization}x` }],
    ['no account', { accountUri: '' }],
    ['an account over two lines', { accountUri: 'https://ca.test/\nx' }],
    ['many names of a CA', { caaIdentities: Array.from({ length: 11 }, () => 'a') }],
    ['no time', { timeoutSeconds: 0 }],
    ['CAA of an address', { challenge: 'caa', identifierType: 'ip', identifierValue: '10.0.0.1' }],
    ['CAA without a method', { challenge: 'caa' }],
  ] as const)
    it(`dials nothing for a task with ${what}`, async () => {
      const { point, asked } = new World();
      const result = await point.carryOut(task(over as Partial<VantageTask__Output>), signal);
      assert.deepEqual([result.result, result.code, result.seenAt], ['absent', 'refused', []]);
      assert.deepEqual(asked, []);
    });

  it('takes no more at a time, and a second, than its configuration says', async () => {
    const world = new World();
    const { promise, resolve } = Promise.withResolvers<Judged<Evidence>>();
    world.answer = () => promise;
    const both = [world.point.carryOut(task(), signal), world.point.carryOut(task(), signal)];
    assert.equal((await world.point.carryOut(task(), signal)).code, 'overloaded');
    resolve({ ok: true, value: { seenAt: [] } });
    assert.deepEqual(
      (await Promise.all(both)).map(({ result }) => result),
      ['agreed', 'agreed'],
    );
    const codes = [];
    for (let count = 0; count < 10; count += 1)
      codes.push((await world.point.carryOut(task(), signal)).code);
    assert.deepEqual(codes, [...Array<string>(8).fill(''), 'overloaded', 'overloaded']);
    world.clock.advance(1_000);
    assert.equal((await world.point.carryOut(task(), signal)).result, 'agreed');
  });
});

it('an agent that is no vantage point dials nothing, whatever the server sends', async () => {
  const point = noVantagePoint(silentLogger);
  assert.equal(point.enabled, false);
  assert.deepEqual(await point.carryOut(task(), signal), {
    ...{ taskId: 'a1', result: 'absent', code: 'refused', seenAt: [] },
  });
});
