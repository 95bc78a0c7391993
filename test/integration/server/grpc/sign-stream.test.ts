import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { unwrap } from '../../../../src/common/errors/index.ts';
import { parseCertificate } from '../../../../src/common/x509/index.ts';
import { controlId, delegate, itemFor, SignDialogue } from '../../../support/control-plane.ts';
import { startTestServer, type Credential, type TestServer } from '../../../support/server.ts';
import { until } from '../../../support/until.ts';

const window = 1_000;
let server: TestServer;
before(async () => {
  server = await startTestServer({ config: { limits: { signsPerSecond: 5_000 } } });
});
after(() => server?.[Symbol.asyncDispose]());

async function control(name: string): Promise<Credential> {
  await delegate(server, name);
  return server.mint(controlId(name));
}

async function open(name: string): Promise<SignDialogue> {
  const dialogue = new SignDialogue(server.client(await control(name)));
  await until(() => dialogue.credits === window, 'the first credits');
  return dialogue;
}

const issued = async (holder: string): Promise<number> => {
  let count = 0;
  let token = '';
  do {
    const page = await server.admin('Certificates/ListCertificates', {
      filter: { spiffeIdPrefix: `spiffe://mesh.test/ns/${holder}/` },
      page: { size: 500, token },
    });
    count += page.certificates.length;
    token = page.nextPageToken;
  } while (token !== '');
  return count;
};

async function refusals(): Promise<string> {
  const { records } = await server.admin('Audit/ListAuditRecords', { kind: 'request.refused' });
  return records.map(({ canonical }) => canonical.toString()).join('\n');
}

describe('a stream of requests of a control plane', () => {
  test('gets its credits first, and each request its own answer: a certificate, or a refusal on record', async () => {
    const stream = await open('one');
    stream.write({ id: 'good', item: await itemFor('one', 'api', { dnsNames: [] }) });
    stream.write({ id: 'outside', item: await itemFor('other', 'api') });
    stream.write({ id: 'bad-csr', item: await itemFor('one', 'x', { csrDer: Buffer.from('no') }) });
    await until(() => stream.answers.length === 3);
    const { result, rootsDer } = stream.answerOf('good')!;
    const leaf = unwrap(parseCertificate(result!.svid!.chainDer[0]!));
    assert.deepEqual(leaf.uriSans, ['spiffe://mesh.test/ns/one/sa/api']);
    const roots = stream.received.flatMap((message) => message.rootsDer);
    assert.deepEqual(roots, server.rootsDer, 'the roots come once, with the first answer');
    assert.ok(rootsDer.length <= 1);
    const refused = stream.answerOf('outside')!.result!.refusal!;
    assert.equal(refused.code, 'OUTSIDE_DELEGATION');
    assert.notEqual(refused.message, '');
    assert.notEqual(refused.next, '');
    assert.equal(stream.answerOf('bad-csr')!.result!.refusal!.code, 'CSR_MALFORMED');
    assert.ok((await refusals()).includes(refused.refusalId), 'the refusal ID is in the log');
    assert.equal(stream.credits, window + 3, 'each answer gives its credit back');
    stream.stream.end();
    assert.equal(await stream.code(), 'OK');
    assert.equal(await issued('one'), 1);
  });

  test('signs far more than its window over one stream, each request once', async () => {
    const stream = await open('many');
    const total = 3 * window;
    const items = await Promise.all(
      Array.from({ length: total }, (_, index) => itemFor('many', `w${index}`)),
    );
    let sent = 0;
    while (sent < total) {
      await until(() => stream.credits > sent || stream.ended);
      assert.equal(stream.error, undefined);
      for (; sent < Math.min(total, stream.credits); sent += 1)
        stream.write({ id: `n${sent}`, item: items[sent]! });
    }
    stream.stream.end();
    assert.equal(await stream.code(), 'OK');
    assert.equal(stream.answers.filter(({ result }) => result?.svid).length, total);
    assert.equal(new Set(stream.answers.map(({ id }) => id)).size, total);
    assert.equal(await issued('many'), total);
  });

  test('the same request on a second stream gets the recorded certificate again', async () => {
    const credential = await control('again');
    const item = await itemFor('again', 'api');
    const serials: (string | undefined)[] = [];
    for (const id of ['a', 'b']) {
      const stream = new SignDialogue(server.client(credential));
      await until(() => stream.credits > 0);
      stream.write({ id, item });
      await until(() => stream.answers.length === 1);
      serials.push(stream.answers[0]!.result!.svid?.serial);
      stream.stream.cancel();
    }
    assert.equal(serials[0], serials[1]);
    assert.ok(serials[0]);
  });

  test('a request without a credit ends the stream with its code, and the credits are enough for all', async () => {
    const credential = await control('greedy');
    const stream = new SignDialogue(server.client(credential));
    const items = await Promise.all(
      Array.from({ length: 10 * window }, (_, index) => itemFor('greedy', `w${index}`)),
    );
    await until(() => stream.credits === window);
    // whoever reads nothing gets few credits back, however fast the server is
    stream.stream.pause();
    for (const [index, item] of items.entries()) stream.write({ id: `n${index}`, item });
    await until(async () => (await refusals()).includes('STREAM_CREDIT_EXCEEDED'));
    stream.stream.resume();
    assert.equal(await stream.code(), 'STREAM_CREDIT_EXCEEDED');
    assert.ok((await issued('greedy')) < items.length);
    // as the advice says
    const polite = new SignDialogue(server.client(credential));
    await until(() => polite.credits === window);
    for (const [index, item] of items.slice(0, window).entries())
      polite.write({ id: `n${index}`, item });
    await until(() => polite.answers.length === window);
    assert.ok(polite.answers.every(({ result }) => result?.svid));
  });

  test('an ID that has no answer yet, a message without item and an empty ID end the stream', async () => {
    const credential = await control('careless');
    const item = await itemFor('careless', 'api');
    for (const messages of [
      [
        { id: 'x', item },
        { id: 'x', item },
      ],
      [{ id: 'x' }],
      [{ id: '', item }],
    ]) {
      const stream = new SignDialogue(server.client(credential));
      await until(() => stream.credits > 0);
      for (const message of messages) stream.write(message);
      assert.equal(await stream.code(), 'INVALID_REQUEST');
    }
  });

  test('a caller that reads nothing gets no further credits, and all its answers once it reads', async () => {
    const credential = await control('slow');
    const stream = new SignDialogue(server.client(credential));
    await until(() => stream.credits === window);
    stream.stream.pause();
    const items = await Promise.all(
      Array.from({ length: window }, (_, index) => itemFor('slow', `w${index}`)),
    );
    for (const [index, item] of items.entries()) stream.write({ id: `n${index}`, item });
    // everything is signed although nobody reads
    await until(async () => (await issued('slow')) === window, 'all are signed');
    stream.stream.resume();
    await until(() => stream.answers.length === window && stream.credits === 2 * window);
  });

  test('an idle stream ends when its delegation is revoked or its certificate is', async () => {
    const id = await delegate(server, 'gone');
    const stream = new SignDialogue(server.client(await server.mint(controlId('gone'))));
    await until(() => stream.credits > 0);
    await server.admin('Delegations/RevokeDelegation', { id });
    assert.equal(await stream.code(), 'CALLER_NOT_ADMITTED');
    const credential = await control('short');
    const short = new SignDialogue(
      server.client(await server.mint(credential.spiffeId, { ttlSeconds: 20 })),
    );
    await until(() => short.credits > 0);
    assert.equal(await short.code(), 'CERTIFICATE_EXPIRED');
  });

  test('only control planes get a stream', async () => {
    const stranger = new SignDialogue(
      server.client(await server.mint('spiffe://mesh.test/nobody')),
    );
    assert.equal(await stranger.code(), 'CALLER_NOT_ADMITTED');
    const anonymous = new SignDialogue(server.client());
    assert.equal(await anonymous.code(), 'UNAUTHENTICATED');
  });
});
