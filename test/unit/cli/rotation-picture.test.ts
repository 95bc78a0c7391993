import assert from 'node:assert/strict';
import { test } from 'node:test';
import { stripVTControlCharacters } from 'node:util';
import {
  chainPicture,
  confirmationLines,
  laggardText,
  summaryLine,
} from '../../../src/cli/rotation-picture.ts';
import type { RotationStatus__Output } from '../../../src/common/wire/generated/meshca/admin/v1/RotationStatus.ts';
import type { Laggard__Output } from '../../../src/common/wire/generated/meshca/admin/v1/Laggard.ts';

const now = 1_800_000_000;
const laggard = (over: Partial<Laggard__Output>): string =>
  laggardText(
    {
      agentId: 'spiffe://td.test/meshca/agent/node-1',
      consumerId: 'c',
      kind: 'workload-stream',
      spiffeId: 'spiffe://td.test/web',
      description: 'pid 7',
      state: 'behind',
      reason: '',
      lastSeenAt: now - 3_000,
      holds: ['0123456789ab-old'],
      until: now + 1_800,
      ...over,
    },
    now,
  );

test('a reader that left is shown with the end of its certificate, and with no other instant', () => {
  const text = laggard({ state: 'departed', reason: 'disconnected; counts until 2027' });
  assert.match(
    text,
    /– left with a certificate that ends in 30 min, holds .*; left out in 30 min$/,
  );
  assert.doesNotMatch(text, /seen|2027/);
});

test('a workload behind an agent that is connected is not said to be left out, nor when it was seen', () => {
  const text = laggard({ state: 'pending', reason: 'does not read' });
  assert.match(text, /– pending \(does not read\), holds [^;]*$/);
});

test('an agent that is away is shown with when it was seen and when it is left out', () => {
  assert.match(
    laggard({ state: 'absent' }),
    /– absent, agent last seen: 50 min ago, has not reported since, holds .*; left out in 30 min$/,
  );
  assert.match(laggard({ state: 'absent', lastSeenAt: 0 }), /agent last seen: never/);
  assert.match(
    laggard({ kind: 'control-plane', state: 'absent', lastSeenAt: 0 }),
    /– absent, control plane not connected since the start of the server, holds/,
  );
});

test('a consumer whose agent came back and has reported nothing is not said to hold nothing', () => {
  assert.match(laggard({ state: 'silent' }), /– has not reported yet, its agent is connected/);
});

test('a workload that its agent does not know any more is shown as such', () => {
  assert.match(laggard({ state: 'lost' }), /its agent no longer knows it, .* left out in 30 min$/);
});

test('an authority that was left without certificate is shown as that, with what goes on with it', () => {
  const id = '01a20f8a-bfc0-7eed-9b23-82eaea1578d8';
  const authority = { id, kind: 'issuing', state: 'preparing', parentId: '', scopeJson: '{}' };
  const picture = (operations: readonly { readonly successorId: string }[]): string =>
    chainPicture(
      {
        authorities: [
          {
            authority: { ...authority, notAfter: 0 },
            confirmation: null,
            live: 0,
            liveUnreported: 0,
          },
        ],
        operations,
        notes: [],
        crls: [],
        crlsHandedOut: true,
        jumpedSeconds: 0,
        failure: null,
      } as unknown as RotationStatus__Output,
      { now, columns: 0, color: false, all: false, maximumLaggards: 10 },
    ).join('\n');
  const left = picture([]);
  assert.match(left, /82eaea1578d8 +preparing +no certificate yet/);
  assert.match(
    left,
    /is left without certificate[^]*meshca authority request[^]*csr --id 01a20f8a/,
  );
  assert.doesNotMatch(picture([{ successorId: id }]), /is left without certificate/);
});

test('a narrow terminal cuts no advice: each line fits, and every word is there', () => {
  const id = '01a20f8a-bfc0-7eed-9b23-82eaea1578d8';
  const progress = (kind: string, state: string, parentId: string): object => ({
    authority: {
      id: `${kind}${id}`,
      kind,
      state,
      parentId,
      scopeJson: '{}',
      notAfter: now + 9_000,
    },
    confirmation: null,
    live: 12,
    liveUnreported: 3,
  });
  const codes = ['CANARY_FAILING', 'CLOCK_UNPROVEN', 'TOKEN_LOST', 'WAITING_IMPORT'];
  const status = {
    authorities: [progress('root', 'active', ''), progress('issuing', 'active', `root${id}`)],
    operations: [],
    notes: codes.map((code, index) => ({
      ...{ code, authorityId: `issuing${id}`, at: now + 60, alert: index % 2 === 0 },
      agents: ['spiffe://td.test/meshca/agent/node-1'],
    })),
    crls: [{ authorityId: `root${id}`, state: 'expired', source: 'import', unlistedIds: [id] }],
    crlsHandedOut: true,
    crlReach: 'http',
    jumpedSeconds: 0,
    failure: { code: 'ROOT_UNAVAILABLE', message: `this is a long message ${'x'.repeat(100)}` },
  } as unknown as RotationStatus__Output;
  const picture = (columns: number, color = false): readonly string[] =>
    chainPicture(status, { now, columns, color, all: false, maximumLaggards: 10 });
  const plain = (lines: readonly string[]): string =>
    stripVTControlCharacters(lines.join('')).replaceAll(/\s/g, '');
  for (const columns of [20, 40, 80, 200])
    for (const color of [false, true]) {
      const lines = picture(columns, color);
      for (const line of lines)
        assert.ok(plain([line]).length <= columns, `${columns}: ${JSON.stringify(line)}`);
      assert.equal(plain(lines), plain(picture(0)), `${columns} columns`);
    }
  const text = picture(60).join('\n');
  assert.match(text, /\nalert: issuing [^]*\n {7}[^]*activate\s+--disregard\s+AGENT/);
});

test('who can not report is named with the instant until which it counts', () => {
  const holder = 'linkerd:prod/shop/web-0#0123456789abcdef';
  const lines = confirmationLines(
    {
      ...{ provenNeeded: 2, provenConfirmed: 2, laggards: [], laggardsTotal: 0 },
      ...{ inferredNeeded: 3, inferredConfirmed: 1, inferredUntil: now + 1_800 },
      unprovableUntil: 0,
      inferredHolders: [
        { holder, until: now + 1_800 },
        { holder: 'spiffe://td.test/mesh', until: now + 60 },
      ],
    },
    { now, maximumLaggards: 1 } as Parameters<typeof confirmationLines>[1],
  );
  assert.match(lines.join('\n'), new RegExp(`waits for ${holder}: can not report, .*in 30 min`));
  assert.match(lines.at(-1) ?? '', /and 1 more that can not report/);
});

test('of an authority of names it is said that nobody confirms it, and until when it is published', () => {
  const confirmation = {
    provenNeeded: 0,
    provenConfirmed: 0,
    inferredNeeded: 0,
    inferredConfirmed: 0,
    inferredUntil: 0,
    inferredHolders: [],
    unprovableUntil: now + 3_600,
    laggards: [],
    laggardsTotal: 0,
  };
  const progress = (kind: string, state: string, id: string, parentId = ''): object => ({
    authority: { id, kind, state, parentId, scopeJson: '{}', token: 'root', notAfter: now + 9_000 },
    confirmation: state === 'published' ? confirmation : null,
    live: 0,
    liveUnreported: 0,
  });
  const status = {
    authorities: [
      progress('names-issuing', 'active', 'names-issuing-1', 'names-root-1'),
      progress('names-root', 'active', 'names-root-1'),
      progress('names-root', 'published', 'names-root-2'),
    ],
    operations: [],
    notes: [],
    crls: [],
    crlsHandedOut: true,
    jumpedSeconds: 0,
    failure: null,
  } as unknown as RotationStatus__Output;
  const lines = chainPicture(status, {
    now,
    columns: 0,
    color: false,
    all: false,
    maximumLaggards: 10,
  });
  assert.match(lines[0] ?? '', /^names-root +names-root-1 +active +signs/);
  assert.match(lines[1] ?? '', /^└─ names-issuing +/);
  assert.match(lines[3] ?? '', /unprovable relying parties never confirm: it is published until/);
  assert.doesNotMatch(lines.join('\n'), /proven  /);
  assert.match(summaryLine(status, 'names-root-2', now), /published unprovable, published until/);
});
