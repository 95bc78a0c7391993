import assert from 'node:assert/strict';
import { randomBytes, randomInt } from 'node:crypto';
import { describe, test } from 'node:test';
import type { ServiceName } from '../../../../src/common/wire/index.ts';
import { serviceDefinition } from '../../../../src/common/wire/index.ts';
import { withCertificateAnswers } from '../../../../src/common/wire/certificate-answers.ts';

const some = <T>(most: number, make: () => T): T[] =>
  Array.from({ length: randomInt(most + 1) }, make);
const oneOf = <T>(...values: readonly T[]): T => values[randomInt(values.length)] as T;
const text = (): string =>
  oneOf('', 'a', 'spiffe://mesh.test/ns/shop/sa/cart', 'ümläut 語 🔑', 'x'.repeat(randomInt(300)));
const der = (): Buffer => randomBytes(oneOf(0, 1, 127, 128, 700, 20_000));
const seconds = (): number =>
  oneOf(0, 1, 127, 128, 16_384, 1_764_500_000, 2 ** 31, 2 ** 32 + 5, Number.MAX_SAFE_INTEGER);
const refusal = () => ({ code: text(), message: text(), next: text(), refusalId: text() });

const svid = () => ({
  spiffeId: text(),
  serial: text(),
  chainDer: some(3, der),
  notBefore: seconds(),
  notAfter: seconds(),
  lifetimeSeconds: seconds(),
  serverTime: seconds(),
  authorityId: text(),
  namesRootsDer: some(2, der),
});
const signed = () => ({
  requestId: text(),
  spiffeId: text(),
  serial: text(),
  chainDer: some(3, der),
  notBefore: seconds(),
  notAfter: seconds(),
  authorityId: text(),
});
const resultOf = (issued: () => object) => () =>
  oneOf<() => object>(
    () => ({ requestId: text(), svid: issued() }),
    () => ({ requestId: text(), refusal: refusal() }),
    () => ({ requestId: text(), svid: null, refusal: null }),
    () => ({}),
  )();

const methods: readonly (readonly [ServiceName, string, () => object])[] = [
  ['meshca.issuer.v1.AgentIssuer', 'SignX509Svids', () => ({ results: some(20, resultOf(svid)) })],
  ['meshca.signing.v1.Signing', 'Sign', () => ({ ...signed(), rootsDer: some(3, der) })],
  [
    'meshca.signing.v1.Signing',
    'SignBatch',
    () => ({ results: some(20, resultOf(signed)), rootsDer: some(3, der) }),
  ],
  [
    'meshca.signing.v1.Signing',
    'SignStream',
    () =>
      oneOf<() => object>(
        () => ({ credits: randomInt(1000) }),
        () => ({ credits: randomInt(3), id: text(), result: resultOf(signed)() }),
        () => ({ id: text(), result: resultOf(signed)(), rootsDer: some(3, der) }),
      )(),
  ],
];

describe('an answer with certificates', () => {
  for (const [service, name, answer] of methods) {
    const library = serviceDefinition(service)[name]!;
    const ours = withCertificateAnswers(serviceDefinition(service))[name]!;

    test(`of ${name} has the bytes that the library gives it`, () => {
      assert.notEqual(ours.responseSerialize, library.responseSerialize);
      for (let round = 0; round < 100; round += 1) {
        const message = answer();
        assert.deepEqual(ours.responseSerialize(message), library.responseSerialize(message));
      }
      assert.deepEqual(ours.responseSerialize({}), library.responseSerialize({}));
    });

    test(`of ${name} that can not be written leaves nothing in the next one`, () => {
      const alone = { requestId: 'r', spiffeId: 'x', notAfter: -1, rootsDer: [der()] };
      const broken =
        name === 'Sign'
          ? alone
          : name === 'SignStream'
            ? { credits: 1, result: { svid: alone } }
            : {
                results: [
                  { requestId: 'r', svid: { spiffeId: 'x', notAfter: -1, chainDer: [der()] } },
                ],
              };
      assert.throws(() => ours.responseSerialize(broken), RangeError);
      const message = answer();
      assert.deepEqual(ours.responseSerialize(message), library.responseSerialize(message));
    });

    test(`of ${name} is not changed by the next one`, () => {
      const first = ours.responseSerialize(answer());
      const copy = Buffer.from(first);
      ours.responseSerialize(answer());
      assert.deepEqual(first, copy);
    });
  }

  test('of a batch larger than what is kept is whole', () => {
    const batch = {
      results: Array.from({ length: 100 }, () => ({
        requestId: 'r',
        svid: { ...svid(), chainDer: [randomBytes(20_000)] },
      })),
    };
    const library = serviceDefinition('meshca.issuer.v1.AgentIssuer')['SignX509Svids']!;
    const ours = withCertificateAnswers(serviceDefinition('meshca.issuer.v1.AgentIssuer'))[
      'SignX509Svids'
    ]!;
    for (let round = 0; round < 2; round += 1)
      assert.deepEqual(ours.responseSerialize(batch), library.responseSerialize(batch));
  });

  test('is the only kind that is encoded here', () => {
    const definition = serviceDefinition('meshca.signing.v1.Signing');
    const changed = withCertificateAnswers(definition);
    for (const name of Object.keys(definition))
      if (!['Sign', 'SignBatch', 'SignStream'].includes(name))
        assert.equal(changed[name], definition[name]);
  });
});
